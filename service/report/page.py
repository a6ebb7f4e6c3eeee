"""The HTML page of a run, finished or not, or of several runs side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from configs.errors import UsageError
from configs.evaluation import WatchConfig
from configs.load import flat_settings
from learner.atomic_files import replace_file
from service.report.html import render
from service.report.judgements import people
from service.report.plots import curves, distributions
from service.report.side_by_side import PAGE, chosen, gain_note, orders, pairs
from service.report.table import about, figure_table, group_table, verdict_lines
from service.run.folder import RLHF
from service.run.held_out_summaries import PROMPTS, read_summaries
from service.run.lock import is_running
from service.run.reward_hacking import training_warnings
from service.run.step_log import read_steps
from workers.data.prompts import in_words
from workers.evaluation.measures import recorded
from workers.preferences.statistics import Statistics

FACTS = ("seed", "steps", "seconds", "resumed_after_step", "adapter_sha256")
PROGRESS = {"reward": "reward/mean", "toxicity": "watch/toxicity", "ROUGE-L": "watch/rougeL"}
"""Title -> metric, for the metrics shown for an unfinished run."""
WATCH, UNTITLED = "watch/", ("watch/second_judge", "watch/commonest")
"""Prefix of the metrics that are watched, and those of them that are no results."""
MAIN = 4
"""Number of curves shown at once; the others are shown on demand."""


class RunReport:
    """The content of a run folder, prepared for the page."""

    def __init__(self, folder: Path) -> None:
        """Raises `UsageError` if it is not a run folder."""
        if not (folder / "config.yaml").is_file():
            raise UsageError(f"{folder}: not a run folder: it has no config.yaml")
        self.folder, self.name = folder, folder.resolve().name
        self.config = (folder / "config.yaml").read_text(encoding="utf-8")
        self.settings = yaml.safe_load(self.config)
        self.steps = read_steps(folder) or read_steps(folder / RLHF)
        file = folder / "report.json"
        self.report: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
        self.evaluation = self.report.get("evaluation")
        self.table, self.brief, self.table_about = None, None, ""
        if self.evaluation:
            self.table, self.brief = figure_table(self.evaluation), figure_table(self.evaluation, brief=True)
            self.table_about = about(self.evaluation)

    @property
    def status(self) -> str:
        """Finished, or how far the run is."""
        if self.report:
            return "finished"
        total = self.settings.get("steps")
        return f"{'in progress' if is_running(self.folder) else 'ended early'}, step {len(self.steps)} of {total}"

    @property
    def verdict(self) -> list[str]:
        """The results in words; for an unfinished run its progress."""
        if self.evaluation:
            return verdict_lines(self.evaluation)
        if not self.steps:
            return [f"{self.status}: nothing to show yet"]
        first, last = self.steps[0], self.steps[-1]
        others = {name.removeprefix(WATCH): name for name in last if name.startswith(WATCH) and name not in UNTITLED}
        titles = {**PROGRESS, **{title: name for title, name in others.items() if name not in PROGRESS.values()}}
        known = {title: name for title, name in titles.items() if name in first and name in last}
        progress = ", ".join(f"{title} {first[name]:.3g} -> {last[name]:.3g}" for title, name in known.items())
        return [f"{self.status}; not evaluated yet. First step to latest: {progress}"]

    @property
    def warnings(self) -> list[str]:
        """Signs of reward hacking."""
        if "warnings" in self.report:
            return self.report["warnings"]
        return list(training_warnings(self.steps, WatchConfig(**self.settings.get("watch", {}))).values())

    @property
    def facts(self) -> list[tuple[str, Any]]:
        """Seeds, hashes and versions."""
        found = [(name.replace("_", " "), self.report[name]) for name in FACTS if self.report.get(name) is not None]
        found += [(f"{name}, KL at step 0" if "kl" in name else name, v) for name, v in self._checks().items()]
        found += [(f"adapter of {name}", value) for name, value in self.report.get("policies", {}).items()]
        found += [(f"data, {split}", in_words(numbers)) for split, numbers in self.report.get("data", {}).items()]
        start = self.folder / "start.json"
        if start.is_file():
            found.append(("data sha256", json.loads(start.read_bytes())["data_sha256"]))
        return found + [(f"{name} version", value) for name, value in self.report.get("versions", {}).items()]

    def _checks(self) -> Mapping[str, Any]:
        return {f"check: {name.replace('_', ' ')}": value for name, value in self.report.get("checks", {}).items()}

    def details(self) -> dict[str, Any]:
        """Distributions, groups and summaries side by side: only shown on the page of a single run."""
        if not self.evaluation:
            return {}
        names = list(self.evaluation["policies"])
        table = read_summaries(self.folder, names)
        prompts = json.loads((self.folder / PROMPTS).read_bytes())
        chief = [measure for measure in recorded(self.evaluation) if measure.chief]
        found = chosen(pairs(table, self.evaluation["baseline"], prompts, chief)) if len(names) > 1 else []
        return {
            "names": names,
            "groups": group_table(self.evaluation),
            "pairs": found,
            "orders": orders(found, names, chief),
            "chief": chief,
            "gain_note": gain_note(chief),
            "distributions": distributions(table, chief),
        }


def write_page(folders: Sequence[Path], target: Path, judged: Statistics | None = None) -> None:
    """Write the page of one run or several; `judged` are people's judgements of its policies."""
    runs = [RunReport(folder) for folder in folders]
    details = runs[0].details() if len(runs) == 1 else {}
    steps = {run.name: run.steps for run in runs if run.steps}
    text = render(
        "report.html",
        title=runs[0].name if len(runs) == 1 else "Runs compared",
        subtitle=runs[0].status if len(runs) == 1 else f"{len(runs)} runs",
        runs=runs,
        curves=curves(steps),
        differences=_differences(runs),
        main=MAIN,
        size=PAGE,
        details=details,
        people=people(judged) if judged else None,
    )
    replace_file(target, text.encode())


def _differences(runs: Sequence[RunReport]) -> list[list[Any]]:
    """Settings that differ between the runs, with their values."""
    flat = [dict(flat_settings(run.settings)) for run in runs]
    names = dict.fromkeys(name for one in flat for name in one)
    return [[name, *(one.get(name) for one in flat)] for name in names if len({repr(o.get(name)) for o in flat}) > 1]
