"""The rewards that a worker has loaded: the one that it started with, and those of the newest calls."""

import torch

from configs.rewards import RewardConfig
from workers.reward.rewards import Rewards


class LoadedRewards:
    """A cache: what it returns depends on the settings asked for alone."""

    def __init__(self, first: RewardConfig, device: torch.device) -> None:
        self.device, self.first = device, Rewards(first, device)
        self.others: list[Rewards] = []

    def of(self, config: RewardConfig) -> Rewards:
        """The reward of these settings, loaded unless it is known."""
        known = [rewards for rewards in (self.first, *self.others) if rewards.config == config]
        return known[0] if known else self._load(config)

    def _load(self, config: RewardConfig) -> Rewards:
        """Parts that differ in how their scores are used only are those of a known reward."""
        self.others.append(loaded := Rewards(config, self.device, known=(self.first, *self.others)))
        return loaded

    def keep(self, *configs: RewardConfig) -> None:
        """Forget all others, which frees their memory; the first stays."""
        self.others = [rewards for rewards in self.others if rewards.config in configs]
