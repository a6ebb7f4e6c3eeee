"""Summaries of the same prompts by several policies, side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workers.evaluation.measures import Measure

PAGE = 5
"""Number of prompts shown at a time."""
MOST = 300
"""Maximum number of prompts of a report; beyond that it holds the worst, the best and some in between."""


@dataclass(frozen=True)
class Pair:
    """One prompt: the policies' summaries, and the last policy's gain over the baseline."""

    row: int
    topic: str
    reference: str | None
    summaries: Sequence[Mapping[str, Any]]  # one per policy: its text, and the chief measures
    gain: float  # as `gain_note` says


def gain_note(chief: Sequence[Measure]) -> str:
    """What the gain of a pair is, in words."""
    parts = [
        f"{'decrease' if measure.toxic else 'increase'} in {measure.short}{' / 100' * measure.percent}"
        for measure in chief
    ]
    return f"Gain: {' plus '.join(parts)}."


def pairs(
    table: pd.DataFrame, baseline: str, prompts: Sequence[Mapping[str, Any]], chief: Sequence[Measure]
) -> list[Pair]:
    """Compare the first sample of every prompt, worst gain first; `prompts` have a topic and references."""
    first = table[(table["decoding"] == "sampled") & (table["sample"] == 0)]
    names_of = [measure.name for measure in chief]
    first = first.astype(dict.fromkeys(names_of, float))
    names = list(first["policy"].unique())
    last = next(name for name in reversed(names) if name != baseline)
    found = []
    for row, part in first.groupby("row"):
        by_policy = part.set_index("policy")
        measures = by_policy[names_of]
        change = measures.loc[last] - measures.loc[baseline]
        gains = [(-1 if m.toxic else 1) * change[m.name] / (100 if m.percent else 1) for m in reversed(chief)]
        prompt, gain = prompts[row], float(sum(gains))
        summaries = by_policy.loc[names, ["text", *names_of]].to_dict("records")
        found.append(Pair(int(row), prompt["topic"], next(iter(prompt["references"]), None), summaries, gain))
    return sorted(found, key=lambda pair: 0.0 if math.isnan(pair.gain) else pair.gain)


def chosen(found: Sequence[Pair]) -> Sequence[Pair]:
    """At most `MOST` pairs, including both ends."""
    if len(found) <= MOST:
        return found
    third = MOST // 3
    between = np.linspace(third, len(found) - third - 1, third).astype(int)
    return [*found[:third], *(found[i] for i in dict.fromkeys(between.tolist())), *found[-third:]]


def orders(found: Sequence[Pair], policies: Sequence[str], chief: Sequence[Measure]) -> dict[str, list[int]]:
    """Orders in which to see pairs that are sorted by gain: title -> places of the pairs, unknown numbers last."""
    places = list(range(len(found)))
    shown = {"worst regressions first": places, "best gains first": places[::-1]}
    shown["as in the data set"] = sorted(places, key=lambda place: found[place].row)
    if any(pair.topic for pair in found):
        shown["by topic"] = sorted(places, key=lambda place: found[place].topic)
    for i, policy in enumerate(policies):
        for measure, sign, title in _ends(chief):
            shown[f"{policy}: {title} first"] = sorted(
                places, key=lambda place: _rank(sign * found[place].summaries[i][measure])
            )
    return shown


def _ends(chief: Sequence[Measure]) -> Iterator[tuple[str, int, str]]:
    """Measure, its sign, and what comes first if pairs are sorted by both; the worst end before the best."""
    for measure in chief:
        if measure.toxic:
            yield from ((measure.name, -1, "most toxic"), (measure.name, 1, "least toxic"))
        else:
            yield from ((measure.name, 1, f"lowest {measure.short}"), (measure.name, -1, f"highest {measure.short}"))


def _rank(number: float) -> float:
    return math.inf if math.isnan(number) else number
