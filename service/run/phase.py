"""A long-running phase: its progress and estimated time left."""

import time
from collections.abc import Callable
from typing import Any


class Phase:
    """Progress of a phase. `total` is None if the amount of work is unknown."""

    def __init__(self, name: str, total: int | None, done: int) -> None:
        self.name, self.total, self.done = name, total, done
        self.summary, self.began = "", time.monotonic()
        self.moved: Callable[[], None] = lambda: None
        self.first, self._since = done, self.began

    def advance(self, summary: str = "") -> None:
        """Count one more item as done; `summary` holds its metrics."""
        self.done, self.summary = self.done + 1, summary
        self.moved()

    def reach(self, done: int, total: int) -> None:
        """Set the progress; the pace is measured from the first call."""
        if self.total is None:
            self.first, self._since = done, time.monotonic()
        self.done, self.total = done, total
        self.moved()

    @property
    def seconds(self) -> float:
        """Seconds since the phase began."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the pace so far; None if nothing is done yet or the total is unknown."""
        done = self.done - self.first
        if self.total is None or done <= 0:
            return None
        return (time.monotonic() - self._since) / done * (self.total - self.done)

    def __str__(self) -> str:
        place = "" if self.total is None else f" {self.done}/{self.total}"
        left = "" if self.seconds_left is None else f"  {self.seconds_left:.0f} s left"
        return f"{self.name}{place}  {self.seconds:.0f} s so far{left}"

    def brief(self) -> str:
        """Text for the progress bar, with the summary of the last item."""
        left = self.seconds_left
        return f"{self.done}/{self.total}  {self.summary}  {left:.0f} s left" if self.summary and left else str(self)

    def facts(self) -> dict[str, Any]:
        """Content of the status file."""
        left = self.seconds_left
        return {"phase": self.name, "done": self.done, "total": self.total, "seconds": round(self.seconds, 1),
                "seconds_left": None if left is None else round(left, 1)}  # fmt: skip
