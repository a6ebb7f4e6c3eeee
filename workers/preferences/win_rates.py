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
    even = np.ones(count)
    scaled = found.longer / (found.longer.std() or 1.0)
    drawn = [(w @ found.scores / count, length_controlled(found.scores, scaled, w)) for w in resamples(count, seed)]
    rates, controlled = zip(*drawn, strict=True)
    decided = int((found.scores != 0.5).sum())
    missing = max(0, decided_to_show() - decided)
    wins, ties, losses = found.shares.sum(axis=0).tolist()
    return Comparison(
        policy=found.policy,
        against=found.against,
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=percentiles(found.scores.mean(), rates, count),
        length_controlled=percentiles(length_controlled(found.scores, scaled, even), controlled, count),
        longer=float(found.longer.mean()),
        decided=decided,
        more_questions=math.ceil(missing * count / max(1, decided)),
        criteria={name: _win_rate(part, seed) for name, part in by_criterion.items()},
    )


def _win_rate(found: Questions, seed: int) -> Estimate:
    count = len(found.scores)
    drawn = [weights @ found.scores / count for weights in resamples(count, seed)]
    return percentiles(found.scores.mean(), drawn, count)


def length_controlled(scores: np.ndarray, longer: np.ndarray, weights: np.ndarray) -> float:
    """The win rate at equal lengths: that of a logistic regression where the difference of lengths is 0.

    logit P(win) = a + b tanh(longer), without the term of each prompt's difficulty of AlpacaEval 2 (Dubois et al. 2024,
    equation 2); `longer` [questions] is the difference in characters over its standard deviation. Newton's method.
    """
    features = np.stack([np.ones_like(longer), np.tanh(longer)], axis=1)
    fitted = np.zeros(2)
    for _ in range(30):
        chances = 1 / (1 + np.exp(-features @ fitted))
        gradient = features.T @ (weights * (scores - chances)) - RIDGE * fitted
        curvature = (features * (weights * chances * (1 - chances))[:, None]).T @ features + RIDGE * np.eye(2)
        change = np.clip(np.linalg.solve(curvature, gradient), -2, 2)
        fitted = fitted + change
        if np.abs(change).max() < 1e-9:
            break
    return float(1 / (1 + np.exp(-fitted[0])))
