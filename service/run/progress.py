"""Progress of a run: a progress bar on a terminal, else plain lines; a log file, and a status file for programs."""

import json
import threading
import time
import traceback
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
from cluster.run_files import LOG, STATUS
from configs.errors import RunError, UsageError
from service.run.phase import Phase

T = TypeVar("T")
FIRST, EVERY = 3.0, 20.0
"""Seconds until the first line about a phase, and between further ones, where there is no progress bar."""


def silence_libraries() -> None:
    """Turn off the progress bars and warnings of transformers and datasets."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


class Display:
    """Shows the progress of a run on standard error; standard output is for results."""

    def __init__(self, console: Console, every: float = EVERY) -> None:
        self.console, self.every = console, every
        self.folder: Path | None = None  # where the status file goes
        self._said = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        self._said = time.monotonic()
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.log(text)

    @contextmanager
    def failure_logged(self) -> Iterator[None]:
        """Write the reason to the log if the context fails; who catches the error prints it."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            self._log_error(error)
            raise

    def _log_error(self, error: BaseException) -> None:
        known = error.__cause__ is None and isinstance(error, UsageError | RunError | KeyboardInterrupt)
        if not known:
            self.log("".join(traceback.format_exception(error)))
        for problem in getattr(error, "problems", (str(error) or "interrupted",)):
            self.log(f"error: {problem}")

    def log(self, text: str) -> None:
        """Write a line to the log only."""
        with suppress(OSError):  # a full disk is reported where it costs results
            if self.folder and self.folder.is_dir():
                with (self.folder / LOG).open("a", encoding="utf-8", errors="replace") as file:
                    file.write(f"{text}\n")

    @contextmanager
    def phase(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Phase]:
        """Show the phase's progress while the context is open."""
        phase, ended = Phase(name, total, done), threading.Event()
        self._write(phase)
        with self._bar(phase):
            reporter = threading.Thread(target=self._report, args=(phase, ended), daemon=True)
            reporter.start()
            try:
                yield phase
            finally:
                ended.set()
                reporter.join()

    def steps(
        self, reports: Iterable[StepReport], done: int, total: int, summary: Callable[[StepReport], str] | None = None
    ) -> Iterator[StepReport]:
        """Yield the reports and show the summary of each; `done` of the `total` steps were finished before."""
        summary = summary or step_summary
        with self.phase("training", total, done) as phase:
            for report in reports:
                phase.advance(summary(report))
                if not self.console.is_terminal:
                    self.say(f"step {phase.done}/{total}  {phase.summary}  {phase.seconds_left:.0f} s left")
                yield report
        if self.console.is_terminal and phase.summary:
            self.say(f"training: done  {phase.summary}")

    def track(self, items: Iterable[T], total: int, name: str) -> Iterator[T]:
        """Yield the items and show how many are done."""
        with self.phase(name, total) as phase:
            for item in items:
                yield item
                phase.advance()
        self.say(f"{name}: done in {phase.seconds:.0f} s")

    def done(self) -> None:
        """Remove the status file: the run has ended."""
        if self.folder:
            (self.folder / STATUS).unlink(missing_ok=True)

    def _report(self, phase: Phase, ended: threading.Event) -> None:
        tick, reported = min(FIRST, self.every), False
        while not ended.wait(tick):
            self._write(phase)
            # Phases that print a line per item, such as training, need no others.
            first = not reported and (phase.done == phase.first or self._said <= phase.began)
            since = phase.began if first else max(self._said, phase.began)
            if not self.console.is_terminal and time.monotonic() - since >= (tick if first else self.every):
                self.say(str(phase))
                reported = True

    def _write(self, phase: Phase) -> None:
        if self.folder is None or not self.folder.is_dir():
            return
        beside = self.folder / f".{STATUS}.writing"
        with suppress(OSError):  # a full disk is reported where it costs results
            beside.write_text(json.dumps(phase.facts()), encoding="utf-8")
            beside.replace(self.folder / STATUS)

    def _bar(self, phase: Phase) -> Progress:
        columns = (BarColumn(bar_width=6), PhaseColumn(phase))
        bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        task = bar.add_task("", total=phase.total, completed=phase.done)
        phase.moved = lambda: bar.update(task, completed=phase.done)
        return bar


class PhaseColumn(ProgressColumn):
    """The progress bar's text."""

    def __init__(self, phase: Phase) -> None:
        super().__init__()
        self.phase = phase

    def render(self, task: Task) -> Text:
        """The phase's current text."""
        return Text(self.phase.brief())


def read_status(folder: Path) -> dict[str, Any] | None:
    """The run's status file (see `Phase.facts`); None if there is none."""
    try:
        return json.loads((folder / STATUS).read_bytes())
    except (OSError, ValueError):
        return None


def step_summary(report: StepReport) -> str:
    """The step's main metrics, in one line."""
    m = report.metrics
    toxicity = f"  toxicity {m['watch/toxicity']:.3f}" if "watch/toxicity" in m else ""
    return (
        f"reward {m['reward/mean']:+.2f}  KL {m['objective/kl']:.2f}{toxicity}  "
        f"{m['time/tokens_per_second']:.0f} tokens/s"
    )
