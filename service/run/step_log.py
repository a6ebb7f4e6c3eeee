"""Reading and writing steps.jsonl: one JSON object per step, with null for NaN and infinity."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.run.metric_names import renamed

STEPS = "steps.jsonl"
TAIL_BYTES = 2**16
"""Size of the end of the file that usually holds a whole line."""


def step_line(step: Mapping[str, Any]) -> str:
    """The line for a step, with its newline."""
    return json.dumps(without_nan(step), allow_nan=False) + "\n"


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """The run's completely written steps, in order; unknown values are NaN."""
    file = folder / STEPS
    steps: list[dict[str, Any]] = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            step = renamed(json.loads(line))
        except ValueError:
            break
        steps.append({name: math.nan if value is None else value for name, value in step.items()})
        if steps[-1].get("step") != len(steps) - 1:
            return steps[:-1]
    return steps


class StepTail:
    """Follows a run's steps as they are written; unknown values are None, unreadable lines are left out."""

    def __init__(self, folder: Path) -> None:
        self.file, self.inode, self.position = folder / STEPS, 0, 0

    def new(self) -> list[dict[str, Any]]:
        """Complete steps since the last call; all of them again if a resumed run has replaced the file."""
        try:
            with self.file.open("rb") as file:
                self._find(file.fileno())
                file.seek(self.position)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self.position += len(whole) + len(newline)
        return list(_steps(whole.splitlines()))

    def _find(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if status.st_ino != self.inode or status.st_size < self.position:
            self.inode, self.position = status.st_ino, 0


def newest_step(folder: Path) -> dict[str, Any] | None:
    """The last readable step, without reading the whole file; None before the first."""
    return next(_steps(reversed(_last_lines(folder))), None)


def is_damaged(folder: Path) -> bool:
    """True if the file's last line is no step."""
    last = _last_lines(folder)[-1:]
    return len(list(_steps(last))) < len(last)


def _last_lines(folder: Path) -> list[bytes]:
    """The complete lines at the end of the file, at least one if it has any."""
    try:
        with (folder / STEPS).open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
            if start and len(lines) < 2:  # a longer line, with metrics of many groups
                start = file.seek(0)
                lines = file.read().split(b"\n")[:-1]
    except OSError:
        return []
    return lines[1:] if start else lines


def count_steps(folder: Path) -> int:
    """Number of finished steps."""
    newest = newest_step(folder)
    return newest["step"] + 1 if newest else 0


def _steps(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The steps in the lines; whatever else a damaged file holds is left out."""
    for line in lines:
        with suppress(ValueError, AttributeError, RecursionError):
            step = without_nan(renamed(json.loads(line)))
            if type(step.get("step")) is int:
                yield step


def without_nan(value: Any) -> Any:
    """Replaces NaN and infinity by None, at any depth: JSON cannot hold them."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
