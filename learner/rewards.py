"""From scores to token rewards, and the weight of the KL penalty."""

from typing import NamedTuple

import torch
from torch import Tensor

MIN_SPREAD, MIN_SPREAD_ABOUT_MEAN = 0.1, 1e-5
"""Smallest divisors of scores, and of scores minus their mean, as shares of the mean's absolute value. The first keeps
scaled scores within about 10, the second is float32's rounding."""


class ScoreMoments(NamedTuple):
    """Running moments of all scores so far."""

    count: float = 0.0
    mean: float = 0.0
    var: float = 0.0  # biased

    def add(self, scores: Tensor) -> "ScoreMoments":
        """The moments including another batch [B] (Chan et al. 1979, equation 2.1)."""
        size, delta = len(scores), scores.mean().item() - self.mean
        count = self.count + size
        squares = (
            scores.var(unbiased=False).item() * size + self.var * self.count + delta**2 * self.count * size / count
        )
        return ScoreMoments(count, self.mean + delta * size / count, squares / count)

    @property
    def std(self) -> float:
        """Unbiased standard deviation."""
        return (self.var * self.count / max(self.count - 1, 1.0)) ** 0.5


def standardise(scores: Tensor, moments: ScoreMoments, subtract_mean: bool) -> Tensor:
    """Scores [B], minus the running mean if `subtract_mean`, over the running deviation; `moments` include them.

    trl 0.11.3 divides by that deviation however small it is: a single or constant score of -1.5 becomes -1.3e7. Here
    the divisor has a lower bound, and a single first score is divided by its absolute value.
    """
    magnitude = abs(moments.mean)
    least = magnitude * (MIN_SPREAD_ABOUT_MEAN if subtract_mean else MIN_SPREAD)
    divisor = max(moments.std, least) if moments.count > 1 else magnitude
    shifted = scores - moments.mean if subtract_mean else scores
    return shifted / (divisor + torch.finfo(torch.float32).eps)


def kl_estimate(name: str, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimate of KL(policy || reference) per token from the log-probabilities of the tokens drawn. [B, T]

    Schulman 2020, "Approximating KL divergence": k1 is unbiased and may be negative, k2 is half its square, k3 is
    unbiased and never negative. abs is |k1|. The full KL is `full_kl`.
    """
    log_ratio = logprobs - ref_logprobs
    match name:
        case "k1":
            return log_ratio
        case "abs":
            return log_ratio.abs()
        case "k2":
            return 0.5 * log_ratio**2
        case "k3":
            return (-log_ratio).exp() - 1 + log_ratio
    raise ValueError(f"{name} cannot be estimated from single tokens")


def kl_to_reference(name: str, logprobs: Tensor, full: Tensor, ref_logprobs: Tensor, ref_full: Tensor) -> Tensor:
    """KL to the reference per token [B, T] by the named estimator, as it is penalised and reported.

    `full` and `ref_full` [B, T, V] are used by the estimator full only, the log-probabilities [B, T] by all others.
    """
    return full_kl(full, ref_full) if name == "full" else kl_estimate(name, logprobs, ref_logprobs)


def full_kl(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """KL(policy || reference) of each position over the whole vocabulary.

    Both [B, T, V], the log-probabilities of all tokens. Returns [B, T].
    """
    return (logprobs.exp() * (logprobs - ref_logprobs)).sum(dim=-1)


def token_rewards(rewards: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards [B, T]: -kl_coef * kl at every token, and the reward [B] on top at each completion's last one.

    Ziegler et al. 2019, equation 2, with the penalty spread over the tokens it comes from.
    """
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).amax(dim=1, keepdim=True)
    per_token = (-kl_coef * kl).masked_fill(~mask, 0)
    return per_token.scatter_add(1, last, rewards.unsqueeze(1).to(per_token.dtype))


def adapted_kl_coef(kl_coef: float, kl: float, target: float, batch_size: int, horizon: float) -> float:
    """The weight for the next step, given this step's mean KL per completion.

    Ziegler et al. 2019, section 2.2: a proportional controller with its error clipped to 0.2.
    """
    error = max(-0.2, min(0.2, kl / target - 1))
    return kl_coef * (1 + error * batch_size / horizon)
