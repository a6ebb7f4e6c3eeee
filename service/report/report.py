"""The end of a run or an evaluation: its figures, its verdict, its report."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from cluster.plan import Plan
from learner.atomic_files import replace_file
from service.report.page import write_page
from service.report.table import rich_table, verdict_lines, versions
from service.run.folder import read_steps
from service.run.progress import Display
from service.run.reward_hacking import evaluation_warnings, training_warnings
from service.run.step_log import finite
from workers.evaluation.comparison import compare

WIDTH = 140
"""Columns of a table that goes into a file."""


def conclude(folder: Path, plan: Plan, table: pd.DataFrame, facts: Mapping[str, Any], display: Display) -> None:
    """Write report.json and report.html into the folder, and show the table and the verdict."""
    watch = plan.config.watch
    with display.phase("writing the report"):
        evaluation = compare(table, plan.held_out, plan.config)
        warnings = [*training_warnings(read_steps(folder), watch).values(), *evaluation_warnings(evaluation, watch)]
        report = finite({"evaluation": evaluation, "warnings": warnings, **facts, "versions": versions()})
        replace_file(folder / "report.json", json.dumps(report, indent=2, allow_nan=False).encode())
        write_page([folder], folder / "report.html")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(rich_table(evaluation))
    for line in verdict_lines(evaluation):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for line in warnings:
        console.print(f"warning: {line}", highlight=False, soft_wrap=True, markup=False)
    print(f"report: {folder / 'report.html'}")
