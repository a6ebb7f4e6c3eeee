"""The metrics of an evaluation, which are made as the parts of a reward are."""

from collections.abc import Collection, Mapping, Sequence

import torch

from configs.rewards import AnyPart
from learner.types import Tensors
from workers.evaluation.measures import metric_measure
from workers.reward.failures import settle
from workers.reward.items import Item
from workers.reward.parts import make_reward


class Metrics:
    """Each metric is loaded when it is first asked for."""

    def __init__(self, metrics: Mapping[str, AnyPart], device: torch.device) -> None:
        self.config, self.device = metrics, device
        self.made = {}

    def __call__(self, items: Sequence[Item], names: Collection[str] | None = None) -> Tensors:
        """The named metrics, or all: [B] in double precision, as they are reported; NaN where a metric failed."""
        found = {}
        for name, part in self.config.items():
            if names is None or name in names:
                if name not in self.made:
                    self.made[name] = make_reward(f"evaluation.metrics.{name}", part, self.device)
                scale = 100 if metric_measure(name, part).percent else 1
                found[name] = scale * torch.tensor(
                    settle(name, self.made[name](items), "drop", str), dtype=torch.double
                )
        return found
