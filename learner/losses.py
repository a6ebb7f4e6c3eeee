"""Losses per token [B, T], and the weights by which they are summed up."""

from typing import Literal

import torch
from torch import Tensor


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate of PPO (Schulman et al. 2017, equation 7), negated, and a mask of the clipped tokens.

    The ratio is clipped to [1 - low, 1 + high]; for different bounds see Yu et al. 2025, equation 10.
    """
    ratio = (logprobs - old_logprobs).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - low, 1 + high)
    return torch.max(unclipped, clipped), clipped > unclipped


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """Half the squared error, the value's change clipped like the ratio, and a mask of the clipped tokens.

    The larger of both errors counts (Huang et al. 2022, "The 37 implementation details of PPO", detail 9).
    """
    change = values - old_values
    # Within the range use the value itself: the rounding of old + change would count as clipping.
    near = torch.where(change.abs() <= clip_range, values, old_values + change.clamp(-clip_range, clip_range))
    unclipped, clipped = (values - returns) ** 2, (near - returns) ** 2
    return 0.5 * torch.max(unclipped, clipped), clipped > unclipped


def entropy(logprobs: Tensor) -> Tensor:
    """Entropy in nats of each position's distribution, given all its log-probabilities; [B, T, V] -> [B, T]."""
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def token_weights(mask: Tensor, average: Literal["token", "sequence", "constant"], constant: int) -> Tensor:
    """Weight of each token's loss in the minibatch's loss, [B, T], which is the weighted sum.

    token: all tokens alike (Yu et al. 2025, section 3.3); sequence: all completions alike (Shao et al. 2024, equation
    3); constant: a sum over the number of completions times `constant` (Liu et al. 2025, section 3.2).
    """
    active = mask.float()
    if average == "token":
        return active / active.sum().clamp(min=1)  # 0 if all completions were cut and masked
    per_completion = active.sum(dim=1, keepdim=True).clamp(min=1) if average == "sequence" else constant
    return active / (per_completion * len(mask))
