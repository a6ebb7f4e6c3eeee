"""REINFORCE++ (Hu et al. 2025): returns to go with the KL penalty per token, whitened over the batch."""

import torch
from torch import Tensor

from configs.algorithms import ReinforcePP
from learner.advantages import returns_to_go
from learner.batch import Batch
from learner.tensors import whiten


def estimate(batch: Batch, config: ReinforcePP) -> tuple[Tensor, Tensor]:
    """Section 3.1: score at the end minus the KL from each token on, whitened to mean 0 and variance 1."""
    return whiten(returns_to_go(batch.rewards, batch.mask, config.gamma), batch.mask), torch.zeros_like(batch.rewards)
