"""PPO over groups of prompts, such as topics: each group has its own baseline, and all update one policy.

The next step planned in the notebook this project descends from. A topic with high scores throughout no longer drowns
out one with low scores: advantages are centred within each group, and each group's clipped loss has its own weight.
"""

import torch
from torch import Tensor

from configs.algorithms import GroupedPPO
from learner.advantages import gae
from learner.batch import Batch
from learner.tensors import masked_mean, whiten


def estimate(batch: Batch, config: GroupedPPO) -> tuple[Tensor, Tensor]:
    """GAE, centred within each group; scaled to variance 1 over the batch, or within each group too.

    Groups of fewer than `min_completions` are centred together: the mean of two completions says more about these two
    than about their group, and subtracting it leaves noise. Scaling over the batch is the default for the same reason,
    as in REINFORCE++ with a baseline (Hu et al. 2025): if a group's completions are alike, its own variance is noise.
    """
    advantages, returns = gae(batch.rewards, batch.old_values, batch.mask, config.gamma, config.gae_lambda)
    result = torch.zeros_like(advantages)
    groups = merge_small(batch.groups, config.min_completions)
    for group in groups.unique():
        members = groups == group
        mask = batch.mask[members]
        if config.scale_by == "group":
            result[members] = whiten(advantages[members], mask)
        else:
            result[members] = (advantages[members] - masked_mean(advantages[members], mask)).masked_fill(~mask, 0)
    return result if config.scale_by == "group" else whiten(result, batch.mask), returns


def merge_small(groups: Tensor, least: int) -> Tensor:
    """Group numbers [B], with -1 for all groups of fewer than `least` sequences."""
    _, index, sizes = groups.unique(return_inverse=True, return_counts=True)
    return torch.where(sizes[index] < least, -1, groups)


def group_weights(mask: Tensor, groups: Tensor, weights: Tensor, combine: str) -> Tensor:
    """Weight of each token's loss in the minibatch's loss, [B, T]; a group's loss is the mean over its tokens.

    `groups` [B] are group numbers, `weights` [B] the weight of each sequence's group. mean: the weighted mean of the
    losses of the minibatch's groups; sum: their weighted sum. A group of weight 0 takes no part.
    """
    result, total = torch.zeros(mask.shape, device=mask.device), 0.0
    for group in groups.unique():
        members = groups == group
        active = members.unsqueeze(1) & mask
        weight = weights[members][0]
        result += weight * active / active.sum().clamp(min=1)
        total += weight.item()
    return result / total if combine == "mean" and total else result
