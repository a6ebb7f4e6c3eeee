"""Brings a changed part of the reward to the scale of the part before, so that the KL penalty keeps its weight.

Both score the same anchor texts: references, and completions by the policy as it started.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from configs.errors import UsageError
from configs.reward_parts import Standardise
from workers.reward.combine import standardised
from workers.reward.failures import settle
from workers.reward.items import Item
from workers.reward.rewards import Rewards
from workers.reward.versions import Trial

ROUNDING = 1e-5
"""Deviation of equal scores in float32, as a share of their mean."""


class Spread(NamedTuple):
    """Mean and standard deviation (that of a population) of scores."""

    mean: float
    std: float

    @classmethod
    def of(cls, scores: Tensor) -> "Spread":
        """The spread of scores [N], computed in double precision."""
        scores = scores.double()
        return cls(scores.mean().item(), scores.std(correction=0).item())


def same_scale(old: Spread, new: Spread) -> Standardise:
    """What to do to scores of spread `new` so that they have spread `old`."""
    std = new.std / old.std
    return Standardise(mean=new.mean - old.mean * std, std=std)


def with_references(items: Sequence[Item]) -> list[Item]:
    """The completions, and the first reference of each prompt as if it were one."""
    references = [replace(item, completion=item.references[0], completion_ids=()) for item in items if item.references]
    return [*items, *references]


def anchored(old: Rewards, new: Rewards, part: str, units: Sequence[Sequence[Item]]) -> Trial:
    """The new reward with `part` standardised to the old one's mean and deviation on the anchor texts of the units.

    Raises `UsageError` if there is no scale to keep, `RewardError` if the part fails as in a step it must not.
    """
    before, now = (torch.cat([_scores(rewards, part, items) for items in units]) for rewards in (old, new))
    known = before.isfinite() & now.isfinite()
    spreads = {}
    for name, scores in (("old", before[known]), ("new", now[known])):
        spreads[name] = Spread.of(standardised(old.config.parts[part], scores) if name == "old" else scores)
        if not spreads[name].std > ROUNDING * abs(spreads[name].mean):
            raise UsageError(
                f"reward.parts.{part}: the {name} one does not tell the {len(scores)} anchor texts apart, so there is "
                f"no scale to keep; give its standardise yourself"
            )
    standardise = same_scale(spreads["old"], spreads["new"])
    changed = new.config.parts[part].model_copy(update={"standardise": standardise})
    reward = new.config.model_copy(update={"parts": {**new.config.parts, part: changed}})
    figures = {f"{name}_{key}": value for name, one in spreads.items() for key, value in one._asdict().items()}
    return Trial(reward, {"texts": int(known.sum()), **figures})


def _scores(rewards: Rewards, part: str, items: Sequence[Item]) -> Tensor:
    """Raw scores [N] of a part."""
    values = rewards.read(part, items)[0]
    return torch.tensor(settle(part, values, rewards.config.parts[part].on_failure, lambda i: items[i].completion))
