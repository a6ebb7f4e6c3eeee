"""The summaries of several policies for the same prompt, beside each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

ENDS = 10
"""Worst and best that are shown apart."""
MOST = 300
"""Prompts in the whole table: of more, the worst, the best and some between."""


@dataclass(frozen=True)
class Pair:
    """One prompt: the policies' summaries, and what the last policy gained on the baseline."""

    row: int
    topic: str
    reference: str
    summaries: Sequence[Mapping[str, Any]]  # a policy each: text, toxicity, rougeL
    gain: float  # fall in toxicity plus rise in ROUGE-L as a share


def pairs(table: pd.DataFrame, baseline: str, prompts: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Of the first sample of every prompt, the worst first; `prompts` have a topic and references."""
    first = table[(table["decoding"] == "sampled") & (table["sample"] == 0)]
    first = first.astype({"toxicity": float, "rougeL": float})
    names = list(first["policy"].unique())
    last = next(name for name in reversed(names) if name != baseline)
    found = []
    for row, part in first.groupby("row"):
        of = part.set_index("policy")
        change = of.loc[last, ["toxicity", "rougeL"]] - of.loc[baseline, ["toxicity", "rougeL"]]
        prompt, gain = prompts[row], float(change["rougeL"] / 100 - change["toxicity"])
        summaries = of.loc[names, ["text", "toxicity", "rougeL"]].to_dict("records")
        found.append(Pair(int(row), prompt["topic"], prompt["references"][0], summaries, gain))
    return sorted(found, key=lambda pair: 0.0 if math.isnan(pair.gain) else pair.gain)


def chosen(found: Sequence[Pair]) -> Sequence[Pair]:
    """As many as a page can show, both ends among them."""
    if len(found) <= MOST:
        return found
    third = MOST // 3
    between = np.linspace(third, len(found) - third - 1, third).astype(int)
    return [*found[:third], *(found[i] for i in dict.fromkeys(between.tolist())), *found[-third:]]
