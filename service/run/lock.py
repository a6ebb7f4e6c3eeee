"""The lock that a process holds on a run folder while it runs there."""

import fcntl
from pathlib import Path
from typing import IO

from cluster.run_files import LOCK
from configs.errors import UsageError


def lock_folder(folder: Path) -> IO[str]:
    """Lock the folder; released when the returned file is closed. Raises `UsageError` if another process holds it."""
    lock = (folder / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{folder}: another process is using this run folder") from error
    return lock


def is_running(folder: Path) -> bool:
    """True while a process holds the folder's lock."""
    if not (folder / LOCK).is_file():
        return False
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
