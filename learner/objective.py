"""The loss of a microbatch: a pure function of a batch and a forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.algorithms import AnyAlgorithm, WithValues
from learner.batch import Batch
from learner.losses import entropy, policy_loss, value_loss
from learner.rewards import kl_to_reference
from learner.types import Forward


@dataclass(frozen=True, eq=False)
class Microbatch:
    """Some rows of a minibatch, and the weight of each token."""

    batch: Batch
    weights: Tensor  # [B, T], in the loss of the whole minibatch, so that the parts add up to it
    shares: Tensor  # [B, T], in the reported means

    def weighted(self, x: Tensor) -> Tensor:
        """This part of the minibatch's loss, from losses per token, [B, T] -> []."""
        return (x.masked_fill(~self.batch.mask, 0) * self.weights).sum()

    def mean(self, x: Tensor) -> Tensor:
        """This part of a reported mean over the minibatch, [B, T] -> []."""
        return (x.detach().masked_fill(~self.batch.mask, 0) * self.shares).sum()

    def to(self, device: torch.device) -> "Microbatch":
        """A copy on another device."""
        return Microbatch(self.batch.to(device), self.weights.to(device), self.shares.to(device))


def loss(new: Forward, micro: Microbatch, algorithm: AnyAlgorithm, kl_coef: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a microbatch and its part of the minibatch's metrics; any split into microbatches sums to the same."""
    total, metrics = _policy_terms(new, micro, algorithm)
    if isinstance(algorithm, WithValues):
        value, value_metrics = _value_terms(new, micro, algorithm)
        total, metrics = total + algorithm.vf_coef * value, metrics | value_metrics
    if algorithm.kl_in == "loss":
        batch = micro.batch
        kl = kl_to_reference(algorithm.kl_estimator, new.logprobs, new.full, batch.ref_logprobs, batch.ref_full)
        penalty = micro.weighted(kl)
        total, metrics = total + kl_coef * penalty, metrics | {"policy/kl_loss": penalty}
    with torch.set_grad_enabled(algorithm.entropy_coef > 0):
        bonus = entropy(new.full)
    if algorithm.entropy_coef > 0:
        total = total - algorithm.entropy_coef * micro.weighted(bonus)
    return total, {**metrics, "policy/entropy": micro.mean(bonus), "loss/total": total}


def _policy_terms(new: Forward, micro: Microbatch, algorithm: AnyAlgorithm) -> tuple[Tensor, dict[str, Tensor]]:
    batch, low = micro.batch, algorithm.clip_range
    high = low if algorithm.clip_range_high is None else algorithm.clip_range_high
    per_token, clipped = policy_loss(new.logprobs, batch.old_logprobs, batch.advantages, low, high)
    policy, change = micro.weighted(per_token), new.logprobs.detach() - batch.old_logprobs
    return policy, {
        "policy/loss": policy,
        "policy/approx_kl_k2": micro.mean(0.5 * change**2),
        "policy/approx_kl_k1": micro.mean(-change),
        "policy/clip_fraction": micro.mean(clipped.float()),
        "policy/ratio_gap": micro.mean((change.exp() - 1).abs()),
        "policy/advantages_mean": micro.mean(batch.advantages),
    }


def _value_terms(new: Forward, micro: Microbatch, algorithm: WithValues) -> tuple[Tensor, dict[str, Tensor]]:
    batch = micro.batch
    per_token, clipped = value_loss(new.values, batch.old_values, batch.returns, algorithm.value_clip_range)
    value = micro.weighted(per_token)
    return value, {
        "value/loss": value,
        "value/mean": micro.mean(new.values),
        "value/error": micro.mean((new.values - batch.returns) ** 2),
        "value/clip_fraction": micro.mean(clipped.float()),
    }
