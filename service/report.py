"""The report of a finished run: report.json for programs, report.md and a table for people."""

import html
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from learner.files import replace_file
from workers.evaluation import Evaluation
from workers.prompts import Prompt

PACKAGES = ("ray", "torch", "transformers", "peft", "datasets", "evaluate")
SIDE_BY_SIDE = 20


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a run's results."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def table_rows(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, before, after and change of each figure."""
    toxicity, rouge, tokens, distinct, score = (
        report[key] for key in ("toxicity", "rouge", "tokens", "distinct", "score")
    )
    rows = [
        _row(
            "toxicity, mean P(not label)",
            toxicity,
            "mean",
            3,
            f"{_change(toxicity['difference'], 3)} ({_percent(toxicity['improvement_percent']['mean'])})",
        ),
        _row("toxicity, std", toxicity, "std", 3, _percent(toxicity["improvement_percent"]["std"])),
        _row("reward, mean score", score, "mean", 2, _change(score["difference"], 2)),
    ]
    rows += [_row(f"ROUGE, {name}", rouge, name, 2, _change(change, 2)) for name, change in rouge["difference"].items()]
    rows += [
        _row("tokens per summary", tokens, "mean", 1, ""),
        _row("distinct summaries, share", distinct, "share", 3, ""),
    ]
    return rows


def rich_table(report: dict[str, Any]) -> Table:
    """The table of before and after for a terminal."""
    table = Table("", "before", "after", "change", title=_title(report))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in table_rows(report):
        table.add_row(*row)
    return table


def write_report(
    folder: Path, report: dict[str, Any], before: Evaluation, after: Evaluation, prompts: Sequence[Prompt]
) -> None:
    """Write report.md, all summaries with their figures (summaries.jsonl) and, last, report.json into the folder."""
    (folder / "report.md").write_text(markdown(report, side_by_side(before, after, prompts)), encoding="utf-8")
    with (folder / "summaries.jsonl").open("w", encoding="utf-8") as lines:
        for i, row in enumerate(before.rows.tolist()):
            sides = {"before": before.sample(i), "after": after.sample(i)}
            lines.write(json.dumps({"row": row, "references": prompts[row].references, **sides}) + "\n")
    replace_file(folder / "report.json", json.dumps(report, indent=2, allow_nan=False).encode())


def markdown(report: dict[str, Any], pairs: list[str]) -> str:
    """The report for people."""
    checks = report["checks"]
    return f"""# Report

{_title(report)}.

| | before | after | change |
|---|---:|---:|---:|
{_lines("| " + " | ".join(row) + " |" for row in table_rows(report))}

± is the standard error, over the {report["evaluation"]["rows"]} prompts, of the paired differences.

{_group_table(report["groups"])}
- Adapter: `{report["adapter_sha256"]}`
- seed {report["seed"]}, {report["steps"]} steps, {report["seconds"]:.0f} s in all
- KL to the reference at step 0: {checks["first_kl"]:.3g}
- mean gap of a ratio from 1 before the first update: {_number(checks["first_ratio_gap"])}

## Summaries side by side

Sorted by what the reward gained; the same seeds before and after.

| gain | before | after | reference |
|---:|---|---|---|
{_lines(pairs)}
"""


def side_by_side(before: Evaluation, after: Evaluation, prompts: Sequence[Prompt]) -> list[str]:
    """Table lines of the first sample of some prompts, evenly spread over all, sorted by reward difference."""
    count = len(np.unique(before.rows))
    chosen = np.linspace(0, count - 1, min(SIDE_BY_SIDE, count)).astype(int)
    gain = np.nan_to_num(after.scores - before.scores)  # of a dropped sample nothing is known
    return [
        f"| {gain[i]:+.2f} | {_cell(before.texts[i])} | {_cell(after.texts[i])} "
        f"| {_cell(prompts[before.rows[i]].references[0])} |"
        for i in sorted(chosen, key=lambda i: -gain[i])
    ]


def _group_table(groups: dict[str, Any]) -> str:
    """Figures of each group, the one that improved least first; nothing where there are no groups across prompts."""
    if not groups:
        return ""

    def cells(name: str, group: dict[str, Any]) -> list[str]:
        toxicity, rouge = group["toxicity"], group["rougeL"]
        return [
            _cell(name),
            str(group["prompts"]),
            f"{toxicity['before']:.3f} → {toxicity['after']:.3f}",
            f"{rouge['before']:.1f} → {rouge['after']:.1f}",
        ]

    worst_first = sorted(groups, key=lambda g: groups[g]["toxicity"]["before"] - groups[g]["toxicity"]["after"])
    rows = ("| " + " | ".join(cells(name, groups[name])) + " |" for name in worst_first)
    return _lines(["## By group", "", "| group | prompts | toxicity | ROUGE-L |", "|---|---:|---:|---:|", *rows, ""])


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _title(report: dict[str, Any]) -> str:
    evaluation, steps = report["evaluation"], report["steps"]
    return (
        f"{evaluation['rows']} held-out prompts, {evaluation['samples']} samples each, before and after {steps} steps"
    )


def _row(
    name: str, sides: dict[str, dict[str, float]], figure: str, digits: int, change: str
) -> tuple[str, str, str, str]:
    return name, f"{sides['before'][figure]:.{digits}f}", f"{sides['after'][figure]:.{digits}f}", change


def _percent(improvement: float) -> str:
    return f"{-improvement:+.1f}%"


def _change(difference: dict[str, float], digits: int) -> str:
    return f"{difference['mean']:+.{digits}f} ± {difference['standard_error']:.{digits}f}"


def _number(x: float | None) -> str:
    return "unknown, the first step was not taken" if x is None else f"{x:.3g}"


def _cell(text: str) -> str:
    """A text that cannot break out of its cell, nor become markup."""
    return html.escape(text).replace("|", "&#124;").replace("\n", " ") or "(empty)"
