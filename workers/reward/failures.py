"""What happens where a part of the reward fails."""

import math
from collections.abc import Callable, Sequence

from workers.reward.items import Value

LARGEST = 3.4e38
"""Larger scores overflow float32."""


class RewardError(Exception):
    """A reward that failed; the message names it and the completion."""


def settle(name: str, values: Sequence[Value], on_failure: str, where: Callable[[int], str]) -> list[float]:
    """The scores of a part; NaN for each completion that it failed for.

    `where` describes a completion by its index. Raises `RewardError` for the first failure if `on_failure` is error.
    """
    scores = [_number(value) for value in values]
    if on_failure == "error":
        for i, score in enumerate(scores):
            if math.isnan(score):
                raise RewardError(
                    f"reward {name} {_reason(values[i])} ({where(i)}); fix it, or set reward.parts.{name}.on_failure "
                    f"to drop or skip"
                )
    return scores


def _number(value: Value) -> float:
    number = math.nan if value is None or isinstance(value, Exception) else float(value)
    return number if abs(number) <= LARGEST else math.nan


def _reason(value: Value) -> str:
    if isinstance(value, Exception):
        return f"failed: {type(value).__name__}: {value}"
    return f"returned {value}"
