"""The results of an evaluation as a table and in words."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from configs.decoding import Greedy
from service.report.html import number
from workers.evaluation.comparison import MEASURES, Measure

UNKNOWN = "unknown"
SUFFIXES = {"sampled": "", "greedy": ", greedy", "beam": ", beam search"}
"""Decoding -> what follows the name of its measures."""
GROUP_MEASURES = {"toxicity": ("toxicity", 3), "rougeL": ("ROUGE-L", 1)}
"""Measure of a group -> title and digits."""


def figure_table(evaluation: Mapping[str, Any], brief: bool = False) -> dict[str, list[Any]]:
    """Head and rows of the table of all policies: means of the measures, and their changes with 95% intervals.

    `brief` leaves out the spread of toxicity, and most measures of summaries that are not sampled.
    """
    policies, comparisons = evaluation["policies"], evaluation["comparisons"]
    head = ["", *policies, *[f"{c['policy']} against {c['against']}" for c in comparisons]]
    rows: list[list[str]] = []
    for decoding in next(iter(policies.values())):
        spreads, suffix = [policy[decoding] for policy in policies.values()], SUFFIXES[decoding]
        for measure in (m for m in MEASURES if m.name in spreads[0] and not (suffix and m.sampled_only)):
            changes = [] if suffix else [_change(c["changes"][measure.name], measure) for c in comparisons]
            if not (suffix and brief) or measure.chief:
                rows += _rows(measure, spreads, changes, suffix, spread=not (brief or suffix))
        if not (suffix and brief):
            rows.append([f"distinct, share{suffix}", *[f"{s['distinct']:.3f}" for s in spreads]])
        if any(spread["dropped"] for spread in spreads):
            rows.append(["excluded because a reward failed", *[str(spread["dropped"]) for spread in spreads]])
    return {"head": head, "rows": [row + [""] * (len(head) - len(row)) for row in rows]}


def _rows(measure: Measure, spreads: list[Any], changes: list[str], suffix: str, spread: bool) -> list[list[str]]:
    """The row of a measure's mean; with `spread` also rows for the spread of toxicity."""

    def row(title: str, key: str) -> list[str]:
        numbers = [policy[measure.name][key] for policy in spreads]
        return [
            title + suffix,
            *[UNKNOWN if x is None else f"{round(x, measure.digits) + 0:.{measure.digits}f}" for x in numbers],
        ]

    rows = [row(measure.title, "mean") + changes]
    if measure.toxic and spread:
        for title, key in [("standard deviation", "std"), ("share above 0.5", "above_half"), ("maximum", "max")]:
            rows.append(row(f"· {title}", key))
    return rows


def _change(change: Mapping[str, Any] | None, measure: Measure) -> str:
    if change is None:
        return UNKNOWN
    low, high = change["interval"]
    text = (
        f"{change['mean']:+.{measure.digits}f} [{low:+.{measure.digits}f},\N{NO-BREAK SPACE}{high:+.{measure.digits}f}]"
    )
    share = f" ({change['percent']['mean']:+.1f}%)" if measure.toxic and change["percent"] else ""
    return text + share


def group_table(evaluation: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Head and rows of the table of groups: toxicity and ROUGE-L of each policy, and the last one's change."""
    policies, head, rows = list(evaluation["policies"]), ["group", "prompts"], []
    for title, _ in GROUP_MEASURES.values():
        head += [*[f"{title}, {policy}" for policy in policies], f"{title}, change"]
    for name, group in evaluation["groups"].items():
        row = [name, group["prompts"]]
        for measure, (_, digits) in GROUP_MEASURES.items():
            values = [group["policies"][policy][measure] for policy in policies]
            known = None not in (values[0], values[-1])
            row += [number(value, digits) for value in values]
            row.append(number(values[-1] - values[0], digits, "+") if known else UNKNOWN)
        rows.append(row)
    return {"head": head, "rows": rows}


def about(evaluation: Mapping[str, Any]) -> str:
    """A note on how the numbers were obtained."""
    sampling = ", ".join(filter(None, [evaluation.get("sampling"), "with the same seeds for every policy"]))
    return (
        f"Means over {evaluation['rows']} held-out prompts, {evaluation['samples']} sampled summaries each "
        f"({sampling}) and one by {evaluation.get('decoding', Greedy().title)}; changes and verdict are of the sampled "
        f"ones, in brackets 95% bootstrap intervals of paired differences."
    )


def rich_table(evaluation: Mapping[str, Any]) -> Table:
    """The table for the terminal."""
    shown = figure_table(evaluation, brief=True)
    sampling = f" ({evaluation['sampling']})" if evaluation["sampling"] else ""
    title = f"{evaluation['rows']} held-out prompts, {evaluation['samples']} samples each{sampling} and one by "
    table = Table(*shown["head"], title=title + evaluation["decoding"])
    for column in table.columns[1:]:
        column.justify = "right"
    for row in shown["rows"]:
        table.add_row(*row)
    return table


def verdict_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """The verdict of each comparison, a line each."""
    return [f"{c['policy']} against {c['against']}: {'; '.join(c['verdict'])}" for c in evaluation["comparisons"]] or [
        "only one policy: nothing to compare it with"
    ]
