"""Progress of a run: a live line on a terminal, plain lines elsewhere, and a small file for programs."""

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import datasets
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text
from transformers.utils import logging

from cluster.driver import StepReport
from cluster.pools.interface import STATUS

T = TypeVar("T")
FIRST, EVERY = 3.0, 20.0
"""Seconds after which a phase is told of where there is no live line, and then of how far it is."""


def silence_libraries() -> None:
    """Have transformers and datasets leave the terminal to us."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


class Phase:
    """Something that takes long: what it is, how far it is, and how long it will take."""

    def __init__(self, name: str, total: int | None, done: int) -> None:
        self.name, self.total, self.done = name, total, done
        self.figures, self.began = "", time.monotonic()
        self.moved: Callable[[], None] = lambda: None
        self.first, self._since = done, self.began

    def advance(self, figures: str = "") -> None:
        """One more is done."""
        self.done, self.figures = self.done + 1, figures
        self.moved()

    def reach(self, done: int, total: int) -> None:
        """So many of so many are done; the pace is measured from the first time that this is said."""
        if self.total is None:
            self.first, self._since = done, time.monotonic()
        self.done, self.total = done, total
        self.moved()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None where nothing is done yet, or nobody knows how much there is to do."""
        done = self.done - self.first
        if self.total is None or done <= 0:
            return None
        return (time.monotonic() - self._since) / done * (self.total - self.done)

    def __str__(self) -> str:
        place = "" if self.total is None else f" {self.done}/{self.total}"
        left = "" if self.seconds_left is None else f"  {self.seconds_left:.0f} s left"
        return f"{self.name}{place}  {self.seconds:.0f} s so far{left}"

    def brief(self) -> str:
        """The same for a line that is always there, with the figures of what was done last."""
        left = self.seconds_left
        return f"{self.done}/{self.total}  {self.figures}  {left:.0f} s left" if self.figures and left else str(self)

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        left = self.seconds_left
        return {"phase": self.name, "done": self.done, "total": self.total, "seconds": round(self.seconds, 1),
                "seconds_left": None if left is None else round(left, 1)}  # fmt: skip


class Display:
    """Shows how far a run is. Everything goes to standard error; standard output is for results."""

    def __init__(self, console: Console, every: float = EVERY) -> None:
        self.console, self.every = console, every
        self.folder: Path | None = None  # where the status file goes
        self._said = 0.0

    def say(self, text: str) -> None:
        """One line that stays."""
        self._said = time.monotonic()
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Phase]:
        """While this lasts, tell what is done: on a terminal all the time, elsewhere a line now and then."""
        phase, ended = Phase(name, total, done), threading.Event()
        self._write(phase)
        with self._bar(phase):
            teller = threading.Thread(target=self._tell, args=(phase, ended), daemon=True)
            teller.start()
            try:
                yield phase
            finally:
                ended.set()
                teller.join()

    def steps(self, reports: Iterable[StepReport], done: int, total: int) -> Iterator[StepReport]:
        """Pass the reports on and show each of them; `done` steps of `total` were there before."""
        with self.phase("training", total, done) as phase:
            for report in reports:
                phase.advance(figures(report))
                if not self.console.is_terminal:
                    self.say(f"step {phase.done}/{total}  {phase.figures}  {phase.seconds_left:.0f} s left")
                yield report
        if self.console.is_terminal and phase.figures:
            self.say(f"training: done  {phase.figures}")

    def track(self, items: Iterable[T], total: int, name: str) -> Iterator[T]:
        """Pass items on and show how many there were."""
        with self.phase(name, total) as phase:
            for item in items:
                yield item
                phase.advance()
        self.say(f"{name}: done in {phase.seconds:.0f} s")

    def done(self) -> None:
        """There is nothing any more that it does."""
        if self.folder:
            (self.folder / STATUS).unlink(missing_ok=True)

    def _tell(self, phase: Phase, ended: threading.Event) -> None:
        tick, told = min(FIRST, self.every), False
        while not ended.wait(tick):
            self._write(phase)
            # Where a line is written for what is done anyhow, as for a step, there is no need for another.
            first = not told and (phase.done == phase.first or self._said <= phase.began)
            since = phase.began if first else max(self._said, phase.began)
            if not self.console.is_terminal and time.monotonic() - since >= (tick if first else self.every):
                self.say(str(phase))
                told = True

    def _write(self, phase: Phase) -> None:
        if self.folder is None or not self.folder.is_dir():
            return
        beside = self.folder / f".{STATUS}.writing"
        with suppress(OSError):  # a full disk, say, is told of where something is lost by it
            beside.write_text(json.dumps(phase.facts()), encoding="utf-8")
            beside.replace(self.folder / STATUS)

    def _bar(self, phase: Phase) -> Progress:
        columns = (BarColumn(bar_width=6), Told(phase))
        bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        task = bar.add_task("", total=phase.total, completed=phase.done)
        phase.moved = lambda: bar.update(task, completed=phase.done)
        return bar


class Told(ProgressColumn):
    """The phase in words, as it is at the moment."""

    def __init__(self, phase: Phase) -> None:
        super().__init__()
        self.phase = phase

    def render(self, task: Task) -> Text:
        """What the column shows."""
        return Text(self.phase.brief())


def read_status(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder last wrote that it is doing, as `Phase.facts`; None where it wrote nothing."""
    try:
        return json.loads((folder / STATUS).read_bytes())
    except (OSError, ValueError):
        return None


def figures(report: StepReport) -> str:
    """What people watch while a policy learns."""
    m = report.metrics
    return (
        f"reward {m['ppo/mean_scores']:+.2f}  KL {m['objective/kl']:.2f}  toxicity {m['toxicity/mean']:.3f}  "
        f"{m['time/tokens_per_second']:.0f} tokens/s"
    )
