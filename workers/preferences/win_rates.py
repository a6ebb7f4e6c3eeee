"""Which of two policies people prefer, from their answers: win rates, also at equal lengths."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workers.preferences.estimates import Estimate, decided_to_show, fewest_to_show, percentiles, resamples
from workers.preferences.judgements import Judgement
from workers.preferences.questions import Questions, questions

RIDGE = 1e-3
"""Weak L2 penalty of the length-controlled regression, which is finite then even if a policy always wins."""
STEPS = 30
"""Maximum number of its Newton steps."""


@dataclass(frozen=True)
class Comparison:
    """What people said of a policy against another, on the questions that compare the two. A tie is half a win."""

    policy: str
    against: str
    wins: float  # sums over questions of the share of their answers: every question weighs the same
    ties: float
    losses: float
    win_rate: Estimate
    length_controlled: Estimate
    longer: float  # mean difference in characters: the policy's completion less the other's
    decided: int  # questions with a winner
    more_questions: int  # until a preference of 60:40 would show with 80% power, at this share of decided ones
    criteria: Mapping[str, Estimate]  # win rate by criterion

    @property
    def preferred(self) -> str | None:
        """The policy that people prefer, if that shows: 50% is outside the interval, and enough are decided."""
        if self.decided < fewest_to_show() or self.win_rate.low <= 0.5 <= self.win_rate.high:
            return None
        return self.policy if self.win_rate.value > 0.5 else self.against


def comparisons(judgements: Sequence[Judgement], seed: int) -> list[Comparison]:
    """Each policy against each before it that it was compared with; `judgements` hold no skips."""
    criteria = list(dict.fromkeys(name for judgement in judgements for name in judgement.criteria))
    by_criterion = {name: questions(judgements, name) for name in criteria}
    return [
        _comparison(
            found,
            seed,
            {
                name: part
                for name, parts in by_criterion.items()
                for part in parts
                if (part.policy, part.against) == (found.policy, found.against)
            },
        )
        for found in questions(judgements)
    ]


def _comparison(found: Questions, seed: int, by_criterion: Mapping[str, Questions]) -> Comparison:
    count = len(found.scores)
    scaled = found.longer / (found.longer.std() or 1.0)
    controlled = np.concatenate([length_controlled(found.scores, scaled, w) for w in resamples(count, seed)])
    decided = int((found.scores != 0.5).sum())
    missing = max(0, decided_to_show() - decided)
    wins, ties, losses = found.shares.sum(axis=0).tolist()
    return Comparison(
        policy=found.policy,
        against=found.against,
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=win_rate(found.scores, seed),
        length_controlled=percentiles(length_controlled(found.scores, scaled)[0], controlled, count),
        longer=float(found.longer.mean()),
        decided=decided,
        more_questions=math.ceil(missing * count / max(1, decided)),
        criteria={name: win_rate(part.scores, seed) for name, part in by_criterion.items()},
    )


def win_rate(scores: np.ndarray, seed: int) -> Estimate:
    """The mean score, with its bootstrap interval."""
    drawn = np.concatenate([weights @ scores for weights in resamples(len(scores), seed)]) / len(scores)
    return percentiles(scores.mean(), drawn, len(scores))


def length_controlled(scores: np.ndarray, longer: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The win rate at equal lengths: that of a logistic regression where the difference of lengths is 0.

    logit P(win) = a + b tanh(longer), without the term of each prompt's difficulty of AlpacaEval 2 (Dubois et al. 2024,
    equation 2); `longer` [questions] is the difference in characters over its standard deviation. For each row of
    `weights` [samples, questions], by default one of ones, a rate [samples]. Newton's method.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    features = np.stack([np.ones_like(longer), np.tanh(longer)], axis=1)  # [questions, 2]
    squares = features[:, :, None] * features[:, None, :]
    fitted = np.zeros((len(weights), 2))
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-fitted @ features.T))
        gradient = (weights * (scores - chances)) @ features - RIDGE * fitted
        curvature = np.tensordot(weights * chances * (1 - chances), squares, axes=1) + RIDGE * np.eye(2)
        change = np.clip(np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0], -2, 2)
        fitted = fitted + change
        if np.abs(change).max() < 1e-6:
            break
    return 1 / (1 + np.exp(-fitted[:, 0]))
