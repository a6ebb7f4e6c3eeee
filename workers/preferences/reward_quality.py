"""How good a reward model is, by its scores of pairs that it has not learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import binomtest

from learner.preferences.pairs import Preference

BINS = 5
"""Of confidence, from one half to 1."""
COLDEST, HOTTEST = 0.01, 100.0
"""Temperatures that are tried."""


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with the model's scores."""

    pairs: Sequence[Preference]
    chosen: np.ndarray  # [pairs]
    rejected: np.ndarray  # [pairs]

    @property
    def decided(self) -> np.ndarray:
        """[pairs], True for those that are no ties."""
        return np.array([not pair.tie for pair in self.pairs], bool)

    @property
    def gaps(self) -> np.ndarray:
        """How much higher the chosen completion scores, of pairs that are no ties."""
        return (self.chosen - self.rejected)[self.decided]


def accuracy(scored: ScoredPairs) -> dict[str, Any]:
    """Share of pairs, without ties, whose chosen completion scores higher; equal scores count half.

    The 95% interval is Wilson's (1927), for as many trials as there are prompts: pairs of one prompt are not
    independent.
    """
    gaps = scored.gaps
    share = float(((gaps > 0) + 0.5 * (gaps == 0)).mean())
    prompts = len({pair.prompt for pair in scored.pairs if not pair.tie})
    interval = binomtest(round(share * prompts), prompts).proportion_ci(method="wilson")
    return {
        "accuracy": share,
        "interval": [float(interval.low), float(interval.high)],
        "pairs": len(gaps),
        "prompts": prompts,
        "ties": int((~scored.decided).sum()),
    }


def calibration(scored: ScoredPairs) -> dict[str, Any]:
    """How well the sigmoid of the gap tells the probability that the chosen completion is preferred; ties are left out.

    Brier: the mean of (1 - sigmoid(gap))² (Brier 1950). ECE: |accuracy - confidence| over bins of confidence,
    sigmoid(|gap|), weighted by their pairs (Guo et al. 2017). `temperature` divides the gaps so that their likelihood
    is highest (Guo et al. 2017); None if there is none, since all pairs are ranked correctly. `_scaled`: with that
    temperature, which was fitted on the same pairs.
    """
    gaps, found = scored.gaps, temperature(scored.gaps)
    bins = _bins(gaps)
    result = {"brier": _brier(gaps), "ece": _ece(bins, len(gaps)), "temperature": found, "bins": bins}
    if found:
        scaled = gaps / found
        result |= {"brier_scaled": _brier(scaled), "ece_scaled": _ece(_bins(scaled), len(gaps))}
    return result


def temperature(gaps: np.ndarray) -> float | None:
    """The temperature T for which the mean of -log sigmoid(gap / T) is lowest; None if there is none in the range."""
    low, high = np.log([COLDEST, HOTTEST])
    best = minimize_scalar(lambda t: np.logaddexp(0, -gaps / np.exp(t)).mean(), bounds=(low, high), method="bounded")
    inside = low + 0.01 < best.x < high - 0.01
    return float(np.exp(best.x)) if inside and (gaps < 0).any() else None


def _brier(gaps: np.ndarray) -> float:
    return float(((1 - expit(gaps)) ** 2).mean())


def _bins(gaps: np.ndarray) -> list[dict[str, float]]:
    """Mean confidence and accuracy of the pairs in each bin that has any."""
    confidence, right = expit(np.abs(gaps)), (gaps > 0) + 0.5 * (gaps == 0)
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[place == i].mean()),
            "accuracy": float(right[place == i].mean()),
            "pairs": int((place == i).sum()),
        }
        for i in range(BINS)
        if (place == i).any()
    ]


def _ece(bins: Sequence[dict[str, float]], pairs: int) -> float:
    return float(sum(b["pairs"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / pairs)


def length_preference(scored: ScoredPairs) -> dict[str, float | None]:
    """Preference for more characters: shares of pairs, without ties, whose longer completion was chosen, and scores
    higher; and Pearson's correlation of score and length over all completions. None where it is not defined."""
    difference = np.array([len(pair.chosen) - len(pair.rejected) for pair in scored.pairs])[scored.decided]
    longer = (scored.gaps * np.sign(difference))[difference != 0]
    lengths = np.array([*(len(pair.chosen) for pair in scored.pairs), *(len(pair.rejected) for pair in scored.pairs)])
    scores = np.concatenate([scored.chosen, scored.rejected])
    varied = lengths.std() > 0 and scores.std() > 0
    return {
        "by_people": float((difference > 0)[difference != 0].mean()) if len(longer) else None,
        "by_model": float((longer > 0).mean()) if len(longer) else None,
        "correlation": float(np.corrcoef(lengths, scores)[0, 1]) if varied else None,
    }


def spread(scored: ScoredPairs) -> dict[str, float]:
    """Mean and standard deviation of the scores, for `standardise`."""
    scores = np.concatenate([scored.chosen, scored.rejected])
    return {"mean": float(scores.mean()), "std": float(scores.std())}
