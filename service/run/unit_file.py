"""Results of units, saved one by one so that what makes them can be resumed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class UnitFile:
    """A header line of facts, then a line per unit. Reset if its facts differ."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        head, whole = json.dumps(facts), []
        self.lines: dict[tuple[int, int], dict[str, Any]] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and lines[0].strip() == head.encode():
            whole = [line for line in lines[1:] if line.endswith(b"\n")]  # the last may be incomplete
            self.lines = {tuple(line["unit"]): line for line in map(json.loads, whole)}
        path.write_bytes(b"".join([head.encode() + b"\n", *whole]))
        self.file = path.open("a", encoding="utf-8")

    def add(self, key: tuple[int, int], **results: Any) -> None:
        """Save the results of a unit, of which no number is NaN or infinite."""
        self.lines[key] = {"unit": key, **results}
        self.file.write(json.dumps(self.lines[key], allow_nan=False) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Flush to disk and close."""
        os.fsync(self.file.fileno())
        self.file.close()
