"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk. Raises `OSError`, also where fewer bytes arrived."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if (size := path.stat().st_size) != len(data):
        raise OSError(f"{path}: {size} of {len(data)} bytes were written")


def sync_folder(folder: Path) -> None:
    """Wait until names that were made or changed in the folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place of what was there: who reads it at any moment finds the old one or the new one."""
    beside = path.with_name(f".{path.name}.writing")
    write_durably(beside, data)
    beside.replace(path)
    sync_folder(path.parent)
