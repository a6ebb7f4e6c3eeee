"""The reward by a metric of `evaluate`."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import datasets
import evaluate

from configs.errors import UsageError
from configs.reward_parts import MetricReward
from learner.pretrained import one_line
from workers.reward.items import Item, Value, source_texts


class MetricScorer:
    """Computes a metric for each completion: in one call where its result is a list of numbers, else one by one."""

    def __init__(self, field: str, config: MetricReward) -> None:
        """Raises `UsageError` naming `field` if the metric cannot be loaded. Loading it runs its code."""
        self.config = config
        try:
            self.metric = evaluate.load(config.metric, keep_in_memory=True)
        except Exception as error:  # its code may raise anything
            raise UsageError(f"{field}.metric: {config.metric} cannot be loaded: {one_line(error)}") from error
        known = self.metric.features if isinstance(self.metric.features, list) else [self.metric.features]
        self.inputs = {name for features in known for name in features}
        # Of alternatives, the one that takes several references.
        self.takes_lists = any(_is_list(features.get("references")) for features in known)

    def __call__(self, items: Sequence[Item]) -> list[Value]:
        """The number of each completion; of several references the best counts if the metric takes one at a time."""
        owners, rows = [], []
        for i, item in enumerate(items):
            variants = self._variants(item)
            owners += [i] * len(variants)
            rows += variants
        found: list[list[Value]] = [[] for _ in items]
        for i, value in zip(owners, self._values(rows), strict=True):
            found[i].append(value)
        return [_best(values) for values in found]

    def _variants(self, item: Item) -> list[dict[str, Any]]:
        """The inputs for one completion: one set for all references, or one for each."""
        row: dict[str, Any] = {"predictions": item.completion}
        if "sources" in self.inputs:
            [row["sources"]] = source_texts(item, self.config.source)
        if "references" not in self.inputs:
            return [row]
        references = [list(item.references)] if self.takes_lists and item.references else item.references
        return [{**row, "references": reference} for reference in references]

    def _values(self, rows: Sequence[dict[str, Any]]) -> list[Value]:
        if not rows:
            return []
        together = self._compute(rows)
        if isinstance(together, list | tuple) and len(together) == len(rows):
            return [self._number(value) for value in together]
        return [self._number(self._compute([row])) for row in rows]

    def _compute(self, rows: Sequence[dict[str, Any]]) -> Any:
        """The configured result; the error if the metric raises one."""
        try:
            result = self.metric.compute(**{name: [row[name] for row in rows] for name in rows[0]})
        except Exception as error:  # its code may raise anything
            return error
        if not isinstance(result, dict) or self.config.score not in result:
            return KeyError(f"no {self.config.score!r} in {sorted(result) if isinstance(result, dict) else result}")
        return result[self.config.score]

    def _number(self, value: Any) -> Value:
        if isinstance(value, list | tuple) and len(value) == 1:
            [value] = value
        if isinstance(value, Real):
            return float(value) if self.config.better == "higher" else -float(value)
        return value if isinstance(value, Exception) else TypeError(f"{self.config.score} is {value!r}, not a number")


def _is_list(feature: Any) -> bool:
    return isinstance(feature, list | datasets.List | datasets.Sequence)


def _best(values: Sequence[Value]) -> Value:
    """The highest; the first failure if there is one, or no value at all."""
    failures = [value for value in values if not isinstance(value, float)]
    if failures or not values:
        return failures[0] if failures else ValueError("there is no reference")
    return max(values)
