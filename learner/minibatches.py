"""How a step's batch is split into minibatches and microbatches, and how its tokens are weighted in the loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.algorithms import AnyAlgorithm, GroupedPPO
from learner.algorithms.grouped_ppo import group_weights
from learner.batch import Batch
from learner.losses import token_weights
from learner.seeds import seed_from


def epoch_minibatches(batch: Batch, algorithm: AnyAlgorithm, seed: int, step: int, epoch: int) -> Sequence[Tensor]:
    """Rows of each minibatch of an epoch, shuffled with a seed derived from the coordinates.

    Completions of one prompt stay together, so that they share its encoder pass.
    """
    shuffle = torch.Generator().manual_seed(seed_from(seed, "minibatches", step, epoch))
    if algorithm.completions_per_prompt == 1:
        order = torch.randperm(len(batch.mask), generator=shuffle)
    else:
        rank = torch.randperm(int(batch.groups.max()) + 1, generator=shuffle)
        order = rank[batch.groups].argsort(stable=True)
    return order.split(algorithm.minibatch_size)


def microbatches(minibatch: Batch, size: int | None) -> Sequence[Tensor]:
    """Rows of each microbatch of a minibatch; a single one if `size` is None."""
    if size is None:
        return [torch.arange(len(minibatch.mask))]
    # Longest prompts first: rows of similar length share a microbatch, and those that take longest start first.
    return minibatch.prompt_mask.sum(dim=1).argsort(descending=True, stable=True).split(size)


def loss_weights(minibatch: Batch, algorithm: AnyAlgorithm, max_new_tokens: int) -> Tensor:
    """Weights [B, T] of a minibatch's tokens in its loss; 0 for completions excluded from learning."""
    mask = minibatch.mask
    if algorithm.mask_truncated_completions:
        mask = mask & minibatch.ended.unsqueeze(1)
    if isinstance(algorithm, GroupedPPO):
        return group_weights(mask, minibatch.groups, minibatch.group_weights, algorithm.combine)
    return token_weights(mask, algorithm.loss_average, max_new_tokens)


def metric_weights(minibatch: Batch) -> Tensor:
    """Weights [B, T] of a minibatch's tokens in the reported means, however its loss is weighted."""
    return token_weights(minibatch.mask, "token", constant=1)
