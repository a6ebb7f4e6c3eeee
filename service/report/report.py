"""The end of a run or an evaluation: report.json, report.html, and the results on the terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from cluster.plan import Plan
from configs.decoding import SamplingConfig
from configs.evaluation import EvaluationConfig, WatchConfig
from configs.schema import Config
from learner.atomic_files import replace_file
from service.report.page import write_page
from service.report.table import rich_table, verdict_lines
from service.report.versions import versions
from service.run.progress import Display
from service.run.reward_hacking import evaluation_warnings, training_warnings
from service.run.step_log import read_steps, without_nan
from workers.data.prompts import Prompt
from workers.evaluation.comparison import compare

WIDTH = 140
"""Columns of the table if standard output is not a terminal."""


@dataclass(frozen=True)
class Findings:
    """The summaries of an evaluation, and the settings that its report depends on."""

    table: pd.DataFrame  # a row per summary
    prompts: Sequence[Prompt]
    settings: EvaluationConfig
    sampling: SamplingConfig
    by_group: bool  # True if the report groups prompts as the algorithm does, False: by topic
    watch: WatchConfig

    @classmethod
    def of(cls, config: Config, plan: Plan, table: pd.DataFrame) -> "Findings":
        """The findings of an evaluation by this config and plan."""
        by_group, sampling = config.algorithm.prompt_groups is not None, config.rollout.sampling
        return cls(table, plan.held_out, config.evaluation, sampling, by_group, config.watch)


def write_report(folder: Path, findings: Findings, facts: Mapping[str, Any], display: Display) -> None:
    """Write report.json and report.html into the folder, and print the table and the verdict."""
    watch = findings.watch
    with display.phase("writing the report"):
        evaluation = compare(findings.table, findings.prompts, findings.settings, findings.by_group)
        evaluation |= {"sampling": findings.sampling.title, "decoding": findings.settings.decoding.title}
        warnings = [*training_warnings(read_steps(folder), watch).values(), *evaluation_warnings(evaluation, watch)]
        report = without_nan({"evaluation": evaluation, "warnings": warnings, **facts, "versions": versions()})
        replace_file(folder / "report.json", json.dumps(report, indent=2, allow_nan=False).encode())
        write_page([folder], folder / "report.html")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(rich_table(evaluation))
    for line in [*verdict_lines(evaluation), *(f"warning: {warning}" for warning in warnings)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
        display.log(line)
    print(f"report: {folder / 'report.html'}")
