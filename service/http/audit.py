"""The audit log: a line for every change of a run, campaign or key, and for every attempt that was refused."""

import fcntl
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

AUDIT = "audit.jsonl"
log = logging.getLogger("seqrlhf.service")


@dataclass(frozen=True)
class Change:
    """A change, or the attempt at one."""

    who: str  # name of the key; for a command, the user of the machine
    what: str  # name of the operation, such as stop_run or create_key
    result: int | str  # status of the answer; `done` for a command
    run: str = ""  # or campaign
    request: str = ""  # beginning of its body; for a command, name and properties of the key
    client: str = ""  # address
    request_id: str = ""


class AuditLog:
    """A file of JSON lines that is only ever appended to, by any number of processes. The log gets each line too."""

    def __init__(self, folder: Path) -> None:
        """The file is in this folder, which is created if it does not exist."""
        self.file = folder / AUDIT

    def add(self, change: Change) -> None:
        """Add a line; it is on disk when the call returns.

        If that fails, the log gets the line as an error and the change stands: on a full disk it must still be possible
        to stop a run.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(change)}
        try:
            self._append(json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.error("cannot write %s: %s", self.file, error, extra=line)
        else:
            log.info("audit", extra=line)

    def _append(self, line: bytes) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "ab", buffering=0, opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            try:
                file.write(line)
                os.fsync(file.fileno())
                if os.fstat(file.fileno()).st_size < end + len(line):
                    raise OSError("the line was written only in part")
            except OSError:
                with suppress(OSError):
                    file.truncate(end)  # a part of a line would spoil the next one
                raise
