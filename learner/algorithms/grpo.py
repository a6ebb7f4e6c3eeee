"""Group relative policy optimisation (Shao et al. 2024), with the variants of Dr. GRPO (Liu et al. 2025) as options."""

import torch
from torch import Tensor

from configs.algorithms import GRPO
from learner.advantages import group_normalised
from learner.batch import Batch
from learner.tensors import sequence_sum


def estimate(batch: Batch, config: GRPO) -> tuple[Tensor, Tensor]:
    """Every token of a completion gets the completion's advantage within its prompt's group (section 4.1.2)."""
    rewards = sequence_sum(batch.rewards, batch.mask)
    advantages = group_normalised(rewards, batch.groups, config.scale_by_std)
    return advantages.unsqueeze(1) * batch.mask, torch.zeros_like(batch.rewards)
