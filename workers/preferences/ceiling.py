"""How far annotators agree, and how accurate a reward model can be at most for that."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from learner.preferences.pairs import Preference

RESAMPLES = 2000
PERCENTILES = 2.5, 97.5


def accuracy_ceiling(pairs: Sequence[Preference], seed: int = 0) -> dict[str, Any] | None:
    """Agreement of two annotators about one question, and the accuracy that nothing exceeds against one's answers.

    If each answer is the better one with probability q, two agree with probability a = q² + (1 - q)². Hence the best
    accuracy is q = (1 + √(2a - 1)) / 2; where q differs between questions this is an upper bound, by Jensen's
    inequality. Ties do not count. Interval by a bootstrap over questions (Efron 1979).

    Only named annotators count, each by the first answer. None if no question was answered by two.
    """
    shares = np.array([_agreeing(answers) for answers in questions(pairs).values() if len(answers) > 1])
    if not len(shares):
        return None
    agreed, asked = shares.T
    drawn = np.random.default_rng(seed).integers(len(shares), size=(RESAMPLES, len(shares)))
    low, high = np.percentile(_best(agreed[drawn].sum(1) / asked[drawn].sum(1)), PERCENTILES)
    agreement = agreed.sum() / asked.sum()
    return {
        "accuracy": float(_best(agreement)),
        "interval": [float(low), float(high)],
        "agreement": float(agreement),
        "questions": len(shares),
    }


def _best(agreement: Any) -> Any:
    return (1 + np.sqrt(np.maximum(0, 2 * agreement - 1))) / 2


def questions(pairs: Sequence[Preference]) -> Mapping[Any, Mapping[str, str]]:
    """The preferred completion by question and named annotator; the first answer of an annotator counts."""
    found: dict[Any, dict[str, str]] = defaultdict(dict)
    for pair in pairs:
        if pair.annotator is not None and not pair.tie:
            question = pair.prompt, frozenset((pair.chosen, pair.rejected))
            found[question].setdefault(pair.annotator, pair.chosen)
    return found


def _agreeing(answers: Mapping[str, str]) -> tuple[int, int]:
    """Pairs of annotators that agree, and all pairs of them."""
    both = list(combinations(answers.values(), 2))
    return sum(one == other for one, other in both), len(both)
