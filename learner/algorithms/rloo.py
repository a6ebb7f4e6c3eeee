"""REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024), the whole completion being one action."""

import torch
from torch import Tensor

from configs.algorithms import RLOO
from learner.advantages import leave_one_out
from learner.batch import Batch
from learner.tensors import sequence_sum


def estimate(batch: Batch, config: RLOO) -> tuple[Tensor, Tensor]:
    """Reward, KL penalty included, less the mean of the other completions of the prompt (section 3.2, equation 8)."""
    advantages = leave_one_out(sequence_sum(batch.rewards, batch.mask), batch.groups)
    return advantages.unsqueeze(1) * batch.mask, torch.zeros_like(batch.rewards)
