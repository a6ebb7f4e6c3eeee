"""PPO over groups of prompts, such as topics: each group is judged by itself, and all move one policy.

What the notebook this project descends from meant to do next. A topic whose scores are high throughout no longer drowns
one where they are low: advantages are whitened within each group, and each group's clipped loss has its own weight.
"""

import torch
from torch import Tensor

from configs.algorithms import GroupedPPO
from learner.advantages import gae
from learner.batch import Batch
from learner.tensors import whiten


def estimate(batch: Batch, config: GroupedPPO) -> tuple[Tensor, Tensor]:
    """GAE, whitened within each group; a group of one token has advantage 0."""
    advantages, returns = gae(batch.rewards, batch.old_values, batch.mask, config.gamma, config.gae_lambda)
    whitened = torch.zeros_like(advantages)
    for group in batch.groups.unique():
        members = batch.groups == group
        whitened[members] = whiten(advantages[members], batch.mask[members])
    return whitened, returns


def group_weights(mask: Tensor, groups: Tensor, weights: Tensor, combine: str) -> Tensor:
    """Weight of each token's loss in a minibatch's, [B, T]: the loss of a group is the mean over its tokens.

    `groups` [B] are group numbers, `weights` [B] that of each sequence's group. mean: the losses of the groups in the
    minibatch are averaged by weight; sum: they are added up by weight. A group of weight 0 takes no part.
    """
    result, total = torch.zeros(mask.shape, device=mask.device), 0.0
    for group in groups.unique():
        members = groups == group
        active = members.unsqueeze(1) & mask
        weight = weights[members][0]
        result += weight * active / active.sum()
        total += weight.item()
    return result / total if combine == "mean" and total else result
