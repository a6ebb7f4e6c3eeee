"""The lock that a process holds on a folder while it works there: a run on its own, a service on that of its runs."""

import fcntl
import os
import re
import signal
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import IO

from cluster.run_files import LOCK
from configs.errors import UsageError

PATIENCE = 0.5
"""Seconds in which a lock may be released: `is_running` holds it for a moment."""


def lock_folder(folder: Path) -> IO[str]:
    """Lock the folder; released when the returned file is closed. Raises `UsageError` if another process holds it."""
    lock, until = (folder / LOCK).open("a+"), time.monotonic() + PATIENCE
    while not _take(lock):
        if time.monotonic() > until:
            lock.seek(0)
            holder = lock.read() or "another process"
            lock.close()
            raise UsageError(f"{folder}: {holder} is using this folder; stop it, or choose another folder")
        time.sleep(0.05)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S},")
    lock.flush()
    return lock


def is_running(folder: Path) -> bool:
    """True while a process holds the folder's lock."""
    if not (folder / LOCK).is_file():
        return False
    with (folder / LOCK).open("a") as lock:
        return not _take(lock)


def interrupt_holder(folder: Path) -> bool:
    """Ask the process that holds the folder's lock to end; False if there is none on this machine."""
    holder = re.match(r"process (\d+) on (.+), since", (folder / LOCK).read_text()) if is_running(folder) else None
    if not holder or holder[2] != socket.gethostname():
        return False
    os.kill(int(holder[1]), signal.SIGTERM)
    return True


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
