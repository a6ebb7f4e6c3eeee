"""Estimates with 95% intervals, and how many answers an effect takes to show."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

CONFIDENCE = 0.95
RESAMPLES = 1000
CELLS = 1_000_000
"""Numbers that are held at a time: samples times questions."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, and how many answers or questions it is of."""

    value: float
    low: float
    high: float
    count: int


def share(of: int, count: int) -> Estimate | None:
    """The share of `of` among `count`, with Wilson's (1927) interval; None of nothing."""
    if not count:
        return None
    interval = binomtest(of, count).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(of / count, float(interval.low), float(interval.high), count)


def resamples(count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `count` questions is drawn in `RESAMPLES` bootstrap samples (Efron 1979), some at a time.

    Yields [samples, count]. Whole questions are drawn, with all their answers, which are not independent.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, min(RESAMPLES, CELLS // count))
    for start in range(0, RESAMPLES, at_once):
        samples = min(at_once, RESAMPLES - start)
        drawn = rng.integers(count, size=(samples, count)) + count * np.arange(samples)[:, None]
        yield np.bincount(drawn.ravel(), minlength=samples * count).reshape(samples, count)


def percentiles(value: float, drawn: np.ndarray, count: int) -> Estimate:
    """The estimate whose values in the bootstrap samples are `drawn`."""
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(value), float(low), float(high), count)


def decided_to_show(preference: float = 0.6, power: float = 0.8) -> int:
    """Decided questions that show a preference such as 60:40 with this power, in a two-sided sign test at 5%.

    Normal approximation (Noether 1987, sign test): n = ((z_0.975 / 2 + z_power sqrt(p (1 - p))) / (p - 1/2))^2,
    which for 60:40 and 80% is 194.
    """
    spread = norm.ppf((1 + CONFIDENCE) / 2) / 2 + norm.ppf(power) * math.sqrt(preference * (1 - preference))
    return math.ceil((spread / (preference - 0.5)) ** 2)


def fewest_to_show() -> int:
    """Decided questions below which not even a unanimous verdict is significant: 2 * 0.5^n must be below 5%."""
    return math.ceil(math.log2(2 / (1 - CONFIDENCE)))
