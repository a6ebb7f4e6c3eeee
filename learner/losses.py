"""Losses per token [B, T]; the caller averages them over the active positions of a minibatch."""

import torch
from torch import Tensor


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """The clipped surrogate of PPO (Schulman et al. 2017, equation 7), negated, and where the clip took hold."""
    ratio = (logprobs - old_logprobs).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.max(unclipped, clipped), clipped > unclipped


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """Half the squared error, the value's change clipped as the policy's is, and where the clip took hold.

    The larger of both errors counts (Huang et al. 2022, "The 37 implementation details of PPO", detail 9).
    """
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    unclipped, clipped = (values - returns) ** 2, (near - returns) ** 2
    return 0.5 * torch.max(unclipped, clipped), clipped > unclipped


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of each position's distribution; logits [B, T, V] -> [B, T]."""
    logprobs = logits.log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)
