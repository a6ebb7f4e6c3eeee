"""A whole reward: all of its parts, called together and combined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from configs.reward_parts import Part
from configs.rewards import AnyPart, RewardConfig
from learner.types import Tensors
from workers.reward.combine import combine
from workers.reward.failures import settle
from workers.reward.items import Item, MissingColumn, Reward, Value
from workers.reward.parts import make_reward
from workers.reward.texts import Reading, TextScorer


@dataclass(frozen=True)
class Scored:
    """Scores of B completions."""

    total: Tensor  # [B], NaN for a completion to be dropped
    parts: Tensors  # [B] raw scores by name, NaN where the part failed
    readings: dict[str, Reading]  # of the classifiers of single texts, by name


class Rewards:
    """The parts of a config; only what they need is loaded."""

    def __init__(self, config: RewardConfig, device: torch.device, known: Sequence["Rewards"] = ()) -> None:
        """Takes parts that compute the same from rewards that are `known`.

        Raises `UsageError` naming the part that cannot be used.
        """
        self.config = config
        self.parts = {
            name: _same_part(name, part, known) or make_reward(f"reward.parts.{name}", part, device)
            for name, part in config.parts.items()
        }

    def __call__(self, items: Sequence[Item], where: Callable[[int], str] | None = None) -> Scored:
        """Scores of the items; `where` describes one by its index.

        Raises `RewardError` if a part fails, as its on_failure says; never without `where`.
        """
        readings, parts = {}, {}
        for name in self.parts:
            values, reading = self.read(name, items)
            if reading:
                readings[name] = reading
            on_failure = self.config.parts[name].on_failure
            parts[name] = torch.tensor(settle(name, values, on_failure if where else "drop", where or str))
        return Scored(combine(self.config, parts), parts, readings)

    def read(self, name: str, items: Sequence[Item]) -> tuple[Sequence[Value], Reading | None]:
        """A part's raw values of the items; the reading that they are from, if the part reads single texts."""
        part = self.parts[name]
        if isinstance(part, TextScorer):
            reading = part.read_items(items)
            return reading.scores.tolist(), reading
        return _values(part, items), None

    def probe(self) -> dict[str, list[tuple[float, float]]]:
        """By part, each classifier's scores of the better and the worse text of its probe; only parts that have one.

        Raises `UsageError` if a classifier ranks them the wrong way round.
        """
        scorers = {name: part for name, part in self.parts.items() if isinstance(part, TextScorer)}
        probed = {name: part.probe(self.config.parts[name].weight) for name, part in scorers.items()}
        return {name: scores for name, scores in probed.items() if scores}

    def toxicity(self, scored: Scored) -> Tensor | None:
        """Probability [B] that a text is toxic, by the part that measures it; None without one."""
        name = self.config.toxicity
        return scored.readings[name].badness if name else None


def _same_part(name: str, part: AnyPart, known: Sequence[Rewards]) -> Reward | None:
    """The part of a known reward whose raw scores are the same; None if there is none."""
    same = [rewards for rewards in known if name in rewards.parts and _raw(rewards.config.parts[name]) == _raw(part)]
    return same[0].parts[name] if same else None


def _raw(part: AnyPart) -> dict[str, Any]:
    """The settings that raw scores depend on: not what is done with them."""
    return part.model_dump(exclude={*Part.model_fields, "toxicity"})


def _values(part: Reward, items: Sequence[Item]) -> Sequence[Value]:
    """The part's values; an item without a column that the part reads fails alone: others may have it."""
    try:
        return part(items)
    except MissingColumn as error:
        return [error] if len(items) == 1 else [value for item in items for value in _values(part, [item])]
