"""Steps of a run as they come."""

import json
import math
import os
from pathlib import Path
from typing import Any

LAST = 2**16
"""Bytes at the end of the file that mostly hold a whole line."""


class Tail:
    """Reads what is new in a run's steps."""

    def __init__(self, folder: Path) -> None:
        self.file, self.inode, self.at = folder / "steps.jsonl", 0, 0

    def new(self) -> list[dict[str, Any]]:
        """Whole steps since the last call; all again where a run that goes on has replaced the file."""
        try:
            with self.file.open("rb") as file:
                self._find(file.fileno())
                file.seek(self.at)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self.at += len(whole) + len(newline)
        return [finite(json.loads(line)) for line in whole.splitlines() if line.strip()]

    def _find(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if status.st_ino != self.inode or status.st_size < self.at:
            self.inode, self.at = status.st_ino, 0


def newest_step(folder: Path) -> dict[str, Any] | None:
    """The step that was done last, without reading them all; None before the first."""
    try:
        with (folder / "steps.jsonl").open("rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - LAST)
            file.seek(begin)
            lines = file.read().split(b"\n")[:-1]
            if begin and len(lines) < 2:  # the line is longer: it has figures of many groups
                file.seek(0)
                lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    return finite(json.loads(lines[-1])) if lines else None


def count_steps(folder: Path) -> int:
    """Steps that are done."""
    newest = newest_step(folder)
    return newest["step"] + 1 if newest else 0


def finite(value: Any) -> Any:
    """The same with null for what is no number: JSON has none such."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
