"""Progress of a run: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import datasets
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from transformers.utils import logging

from cluster.driver import StepReport

T = TypeVar("T")


def silence_libraries() -> None:
    """Have transformers and datasets leave the terminal to us."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()


class Display:
    """Shows how far a run is. Everything goes to standard error; standard output is for results."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def steps(self, reports: Iterable[StepReport], done: int, total: int) -> Iterator[StepReport]:
        """Pass the reports on and show each of them; `done` steps of `total` were there before."""
        began, shown = time.perf_counter(), ""
        with self._bar() as bar:
            task = bar.add_task("training", total=total, completed=done, figures="")
            for report in reports:
                left = (time.perf_counter() - began) / (report.step + 1 - done) * (total - report.step - 1)
                shown = f"{figures(report)}  {left:.0f} s left"
                bar.update(task, completed=report.step + 1, figures=shown)
                if not self.console.is_terminal:
                    self.say(f"step {report.step + 1}/{total}  {shown}")
                yield report
        if self.console.is_terminal:
            self.say(f"training: done  {shown.rsplit('  ', 1)[0]}")

    def track(self, items: Iterable[T], total: int, name: str) -> Iterator[T]:
        """Pass items on and show how many there were."""
        with self._bar() as bar:
            task = bar.add_task(name, total=total, figures=name)
            for item in items:
                yield item
                bar.advance(task)
        self.say(f"{name}: done")

    def _bar(self) -> Progress:
        columns = (BarColumn(bar_width=6), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
        return Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)


def figures(report: StepReport) -> str:
    """What people watch while a policy learns."""
    m = report.metrics
    return (
        f"reward {m['ppo/mean_scores']:+.2f}  KL {m['objective/kl']:.2f}  toxicity {m['toxicity/mean']:.3f}  "
        f"{m['time/tokens_per_second']:.0f} tokens/s"
    )
