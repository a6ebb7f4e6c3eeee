"""When each key was last used: the modification time of an empty file per key, in a folder beside the key file.

Services that share a key file may note at the same time; there is nothing in the files that they could spoil.
"""

import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

INTERVAL = 60.0
"""Seconds within which the use of a key is noted once."""


class LastUse:
    """Last use of the keys of a file, each named by its hash."""

    def __init__(self, keys: Path) -> None:
        """`keys` is the key file."""
        self.folder = keys.with_name(f"{keys.name}.used")
        self._noted: dict[str, float] = {}

    def note(self, sha256: str) -> None:
        """Note that a key is used now. Where the folder cannot be written, uses are not noted."""
        now = time.monotonic()
        if now - self._noted.get(sha256, -math.inf) < INTERVAL:
            return
        self._noted[sha256] = now
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._file(sha256).touch(mode=0o600)

    def of(self, sha256: str) -> datetime | None:
        """Last use of a key, within a minute; None if none was noted."""
        try:
            return datetime.fromtimestamp(self._file(sha256).stat().st_mtime, UTC)
        except OSError:
            return None

    def forget(self, sha256: str) -> None:
        """Forget a key that was revoked."""
        with suppress(OSError):
            self._file(sha256).unlink()

    def _file(self, sha256: str) -> Path:
        return self.folder / sha256[:16]
