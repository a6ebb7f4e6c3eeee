"""Checks of the output folder and its disk."""

import re
import shutil
from pathlib import Path

from cluster.run_files import CONFIG, LOCK, LOG, POLICIES, SIZES, STATUS
from configs.errors import UsageError
from configs.schema import Config

MIN_FREE = 200e6
"""Bytes of free disk that a run needs to start: room for a few checkpoints of a small model, and its report."""


def check_out(config: Config) -> None:
    """Create the output folder: only doing so shows that it can be done.

    Raises `UsageError` if it cannot be created, or holds anything but traces of a run that failed to start.
    """
    if config.out is None:
        return
    try:
        Path(config.out).mkdir(parents=True, exist_ok=True)
        names = {_written_name(path) for path in Path(config.out).iterdir()}
    except (OSError, ValueError) as error:
        raise UsageError(f"out: cannot create the folder {config.out!r}: {error}") from error
    # A config alone, without the lock of a run, is somebody's own file.
    if names - {CONFIG, POLICIES, LOG, SIZES, STATUS, LOCK} or (CONFIG in names and LOCK not in names):
        raise UsageError(f"out: {config.out} exists and is not an empty folder; name a new one")


def _written_name(path: Path) -> str:
    """The file's name, also for one whose writer was killed."""
    return re.sub(r"^\.(.+?)(\.\d+-\d+)?\.writing$", r"\1", path.name)


def check_disk(folder: Path) -> None:
    """Raises `UsageError` if the disk of the folder is nearly full."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE:
        raise UsageError(
            f"out: only {free / 1e6:.0f} MB are free on the disk of {existing}; make room or choose another folder"
        )
