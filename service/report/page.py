"""`ray_job.py report RUN [RUN ...]`: the page of a run, finished or not, or of several side by side."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from configs.errors import UsageError
from configs.evaluation import Watch
from configs.installation import COMMAND
from configs.load import settings
from learner.atomic_files import replace_file
from service.report.html import render
from service.report.plots import curves, distributions
from service.report.side_by_side import ENDS, chosen, pairs
from service.report.table import about, figures, verdict_lines
from service.run.folder import RLHF, is_at_work, read_steps
from service.run.held_out_summaries import PROMPTS, read_summaries
from service.run.reward_hacking import training_warnings

FACTS = ("seed", "steps", "seconds", "resumed_after_step", "adapter_sha256")


class Run:
    """What a run's folder holds, as a page shows it."""

    def __init__(self, folder: Path) -> None:
        """Raises `UsageError` where it is no folder of a run."""
        if not (folder / "config.yaml").is_file():
            raise UsageError(f"{folder}: is no folder of a run: it holds no config.yaml")
        self.folder, self.name = folder, folder.resolve().name
        self.config = (folder / "config.yaml").read_text(encoding="utf-8")
        self.settings = yaml.safe_load(self.config)
        self.steps = read_steps(folder) or read_steps(folder / RLHF)
        file = folder / "report.json"
        self.report: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
        self.evaluation = self.report.get("evaluation")
        self.figures = figures(self.evaluation) if self.evaluation else None
        self.figures_about = about(self.evaluation) if self.evaluation else ""

    @property
    def status(self) -> str:
        """Whether it is finished."""
        if self.report:
            return "finished"
        total = self.settings.get("steps")
        return f"{'in progress' if is_at_work(self.folder) else 'ended early'}, step {len(self.steps)} of {total}"

    @property
    def verdict(self) -> list[str]:
        """In words, what came of it; of one that is not finished, how it stands."""
        if self.evaluation:
            return verdict_lines(self.evaluation)
        if not self.steps:
            return [f"{self.status}: nothing to show yet"]
        first, last = self.steps[0], self.steps[-1]
        names = {"reward": "ppo/mean_scores", "toxicity": "toxicity/mean", "ROUGE-L": "watch/rougeL"}
        known = {title: name for title, name in names.items() if name in first and name in last}
        told = ", ".join(f"{title} {first[name]:.3g} -> {last[name]:.3g}" for title, name in known.items())
        return [f"{self.status}; not judged yet. First step to latest: {told}"]

    @property
    def warnings(self) -> list[str]:
        """Signs of reward hacking."""
        if "warnings" in self.report:
            return self.report["warnings"]
        return list(training_warnings(self.steps, Watch(**self.settings.get("watch", {}))).values())

    @property
    def facts(self) -> list[tuple[str, Any]]:
        """Seeds, hashes and versions."""
        found = [(name.replace("_", " "), self.report[name]) for name in FACTS if self.report.get(name) is not None]
        found += [(f"{name}, KL at step 0" if "kl" in name else name, v) for name, v in self._checks().items()]
        found += [(f"adapter of {name}", value) for name, value in self.report.get("policies", {}).items()]
        start = self.folder / "start.json"
        if start.is_file():
            found.append(("data sha256", json.loads(start.read_bytes())["data_sha256"]))
        return found + [(f"{name} version", value) for name, value in self.report.get("versions", {}).items()]

    def _checks(self) -> Mapping[str, Any]:
        return {f"check: {name.replace('_', ' ')}": value for name, value in self.report.get("checks", {}).items()}

    def details(self) -> dict[str, Any]:
        """Distributions, groups and summaries beside each other, which a page shows of one run alone."""
        if not self.evaluation:
            return {}
        names = list(self.evaluation["policies"])
        table = read_summaries(self.folder, names)
        groups = [_group(name, group, names) for name, group in self.evaluation["groups"].items()]
        prompts = json.loads((self.folder / PROMPTS).read_bytes())
        found = pairs(table, self.evaluation["baseline"], prompts) if len(names) > 1 else []
        return {"names": names, "groups": groups, "pairs": chosen(found), "distributions": distributions(table)}


def _group(name: str, group: Mapping[str, Any], policies: Sequence[str]) -> dict[str, Any]:
    toxicity, rouge = ([group["policies"][p][measure] for p in policies] for measure in ("toxicity", "rougeL"))
    return {
        "name": name,
        "prompts": group["prompts"],
        "toxicity": toxicity,
        "toxicity_change": _difference(toxicity),
        "rouge": rouge,
        "rouge_change": _difference(rouge),
    }


def _difference(figures: Sequence[float | None]) -> float | None:
    """From the first policy to the last."""
    return None if None in (figures[0], figures[-1]) else figures[-1] - figures[0]


def write_page(folders: Sequence[Path], target: Path) -> None:
    """Write the page of one run or of several."""
    runs = [Run(folder) for folder in folders]
    details = {"names": [], "groups": [], "pairs": [], "distributions": []}
    details |= runs[0].details() if len(runs) == 1 else {}
    steps = {run.name: run.steps for run in runs if run.steps}
    text = render(
        "report.html",
        title=runs[0].name if len(runs) == 1 else "Runs compared",
        subtitle=runs[0].status if len(runs) == 1 else f"{len(runs)} runs",
        plots=True,
        runs=runs,
        curves=curves(steps),
        differences=_differences(runs),
        ends=ENDS,
        **details,
    )
    replace_file(target, text.encode())


def _differences(runs: Sequence[Run]) -> list[list[Any]]:
    """Settings that are not the same in all runs."""
    flat = [dict(settings(run.settings)) for run in runs]
    names = dict.fromkeys(name for one in flat for name in one)
    return [[name, *(one.get(name) for one in flat)] for name in names if len({repr(o.get(name)) for o in flat}) > 1]


def report(arguments: list[str]) -> None:
    """Write the page; the last line of standard output is where it is."""
    parser = argparse.ArgumentParser(prog=f"{COMMAND} report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a run or of an evaluation")
    parser.add_argument("--out", type=Path, help="file to write; default: report.html in the (first) folder")
    asked = parser.parse_args(arguments)
    name = "report.html" if len(asked.runs) == 1 else "comparison.html"
    target = asked.out or asked.runs[0] / name
    if asked.runs[0].is_dir() and not target.parent.is_dir():
        raise UsageError(f"--out: there is no folder {target.parent}")
    write_page(asked.runs, target)
    print(target)
