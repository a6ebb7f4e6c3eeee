"""From scores to rewards per token, and the weight of the KL penalty."""

import torch
from torch import Tensor

from configs.algorithms import KL


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Unbiased estimate of KL(policy || reference) per token, logprobs - ref_logprobs; may be negative. [B, T]"""
    return logprobs - ref_logprobs


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Unbiased and never negative estimate of the same KL (Schulman 2020, "Approximating KL divergence"). [B, T]"""
    log_ratio = ref_logprobs - logprobs
    return log_ratio.exp() - 1 - log_ratio


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards [B, T]: -kl_coef * kl at every token, and the score [B] on top at each completion's last one.

    Ziegler et al. 2019, equation 2, with the penalty spread over the tokens it comes from.
    """
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).amax(dim=1, keepdim=True)
    rewards = (-kl_coef * kl).masked_fill(~mask, 0)
    return rewards.scatter_add(1, last, scores.unsqueeze(1).to(rewards.dtype))


def next_kl_coef(config: KL, kl_coef: float, kl: float, batch_size: int) -> float:
    """The weight for the next step, given this step's mean KL per completion.

    Adaptive: Ziegler et al. 2019, section 2.2, the proportional controller with its error clipped to 0.2.
    """
    if config.type == "fixed":
        return kl_coef
    error = max(-0.2, min(0.2, kl / config.target - 1))
    return kl_coef * (1 + error * batch_size / config.horizon)


def sequence_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over each completion's tokens, [B, T] -> [B]; of KL per token, the KL per completion."""
    return x.masked_fill(~mask, 0).sum(dim=1)
