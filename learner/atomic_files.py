"""Files that exist complete or not at all."""

import os
import threading
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on disk. Raises `OSError`, also if it was written only in part."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if (size := path.stat().st_size) != len(data):
        raise OSError(f"{path}: {size} of {len(data)} bytes were written")


def sync_folder(folder: Path) -> None:
    """Wait until new and renamed entries of the folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically: readers always see either the old contents or the new ones. Raises `OSError`."""
    # A name of its own: of two writers, each replaces the file by what it has written itself.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.writing")
    try:
        write_durably(temporary, data)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk, every byte counts
        raise
    temporary.replace(path)
    sync_folder(path.parent)
