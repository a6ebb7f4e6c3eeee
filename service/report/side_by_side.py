"""Summaries of the same prompts by several policies, side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

ENDS = 10
"""Number of prompts in each of the tables of worst regressions and best gains."""
MOST = 300
"""Maximum number of prompts in the full table; beyond that it holds the worst, the best and some in between."""


@dataclass(frozen=True)
class Pair:
    """One prompt: the policies' summaries, and the last policy's gain over the baseline."""

    row: int
    topic: str
    reference: str
    summaries: Sequence[Mapping[str, Any]]  # one per policy: text, toxicity, rougeL
    gain: float  # decrease in toxicity plus increase in ROUGE-L / 100


def pairs(table: pd.DataFrame, baseline: str, prompts: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Compare the first sample of every prompt, worst gain first; `prompts` have a topic and references."""
    first = table[(table["decoding"] == "sampled") & (table["sample"] == 0)]
    first = first.astype({"toxicity": float, "rougeL": float})
    names = list(first["policy"].unique())
    last = next(name for name in reversed(names) if name != baseline)
    found = []
    for row, part in first.groupby("row"):
        by_policy = part.set_index("policy")
        measures = by_policy[["toxicity", "rougeL"]]
        change = measures.loc[last] - measures.loc[baseline]
        prompt, gain = prompts[row], float(change["rougeL"] / 100 - change["toxicity"])
        summaries = by_policy.loc[names, ["text", "toxicity", "rougeL"]].to_dict("records")
        found.append(Pair(int(row), prompt["topic"], prompt["references"][0], summaries, gain))
    return sorted(found, key=lambda pair: 0.0 if math.isnan(pair.gain) else pair.gain)


def chosen(found: Sequence[Pair]) -> Sequence[Pair]:
    """At most `MOST` pairs, including both ends."""
    if len(found) <= MOST:
        return found
    third = MOST // 3
    between = np.linspace(third, len(found) - third - 1, third).astype(int)
    return [*found[:third], *(found[i] for i in dict.fromkeys(between.tolist())), *found[-third:]]
