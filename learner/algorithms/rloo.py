"""The leave-one-out baseline of RLOO (Kool et al. 2019; Ahmadian et al. 2024).

The reward is per completion. The loss is clipped per token, as in the other algorithms: with the default average over
each completion's tokens, a long completion's gradient is divided by its length; with `loss_average: constant`, not.
"""

import torch
from torch import Tensor

from configs.algorithms import RLOO
from learner.advantages import leave_one_out
from learner.batch import Batch
from learner.tensors import sequence_sum


def estimate(batch: Batch, config: RLOO) -> tuple[Tensor, Tensor]:
    """Reward, KL penalty included, minus the mean reward of the prompt's other completions."""
    advantages = leave_one_out(sequence_sum(batch.rewards, batch.mask), batch.groups)
    return advantages.unsqueeze(1) * batch.mask, torch.zeros_like(batch.rewards)
