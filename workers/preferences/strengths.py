"""Bradley-Terry strengths of policies, from all comparisons together."""

from collections.abc import Sequence

import evalica
import numpy as np
import pandas as pd
from evalica import Winner

from workers.preferences.estimates import Estimate, percentiles, resamples
from workers.preferences.judgements import Judgement
from workers.preferences.questions import Questions, policies_of, questions
from workers.preferences.win_rates import win_rate

PRIOR = np.array([0, 1e-3, 0])
"""Wins, ties and losses that are added to each comparison, so that a policy that always wins has a finite strength."""


def strengths(judgements: Sequence[Judgement], seed: int) -> dict[str, Estimate]:
    """Bradley-Terry: the probability that each policy wins against the first, from all comparisons together.

    By `evalica`, with a tie as half a win of both; only of policies that comparisons connect to the first.
    """
    names, found = policies_of(judgements), questions(judgements)
    connected = _connected(names, found)
    found = [part for part in found if part.policy in connected]
    names = [name for name in names if name in connected]
    if len(found) == 1:  # of two policies the maximum likelihood is the win rate
        rate = win_rate(found[0].scores, seed)
        return {names[0]: Estimate(0.5, 0.5, 0.5, rate.count), names[1]: rate}
    ends = np.cumsum([0, *(len(part.scores) for part in found)])
    parts = list(zip(ends[:-1], ends[1:], found, strict=True))

    def fit(weights: np.ndarray) -> np.ndarray:
        return _against_first(names, found, [weights[start:end] @ part.shares for start, end, part in parts])

    value = fit(np.ones(ends[-1]))
    drawn = np.array([fit(weights) for some in resamples(int(ends[-1]), seed) for weights in some])
    return {name: percentiles(value[i], drawn[:, i], int(ends[-1])) for i, name in enumerate(names)}


def _against_first(names: Sequence[str], found: Sequence[Questions], totals: Sequence[np.ndarray]) -> np.ndarray:
    """The probability that each policy wins against the first, from the totals of wins, ties and losses."""
    policies = [part.policy for part in found for _ in range(3)]
    others = [part.against for part in found for _ in range(3)]
    weights = (np.array(totals) + PRIOR).ravel()
    result = evalica.bradley_terry(
        policies, others, [Winner.X, Winner.Draw, Winner.Y] * len(found),
        index=pd.Index(names), weights=weights, limit=1000,
    )  # fmt: skip
    scores = result.scores.loc[list(names)].to_numpy()
    return scores / (scores + scores[0])


def _connected(names: Sequence[str], found: Sequence[Questions]) -> set[str]:
    reached = set(names[:1])
    for _ in names:
        for part in found:
            if {part.policy, part.against} & reached:
                reached |= {part.policy, part.against}
    return reached
