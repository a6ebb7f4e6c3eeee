"""The loss of a microbatch and the figures of a step: pure functions of a batch and a forward pass."""

import torch
from torch import Tensor

from configs.algorithms import AnyAlgorithm, GroupedPPO, WithValues
from learner.batch import Batch
from learner.losses import entropy, policy_loss, value_loss
from learner.rewards import kl_estimate, kl_to_reference
from learner.tensors import masked_mean, masked_var, sequence_sum
from learner.types import Experience, Forward

Metrics = dict[str, float]


def loss(
    new: Forward, batch: Batch, weights: Tensor, shares: Tensor, config: AnyAlgorithm, kl_coef: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a microbatch, and its part of the minibatch's metrics.

    `weights` [B, T] are those of the tokens in the loss of the whole *minibatch*, so that the parts of any split into
    microbatches add up to the same loss and gradient; `shares` [B, T] are those in the means that are reported.
    """

    def weighed(x: Tensor) -> Tensor:
        return (x.masked_fill(~batch.mask, 0) * weights).sum()

    def mean(x: Tensor) -> Tensor:
        return (x.detach().masked_fill(~batch.mask, 0) * shares).sum()

    high = config.clip_range if config.clip_range_high is None else config.clip_range_high
    pg, clipped = policy_loss(new.logprobs, batch.old_logprobs, batch.advantages, config.clip_range, high)
    total = policy = weighed(pg)
    change = new.logprobs.detach() - batch.old_logprobs
    metrics = {
        "ppo/loss/policy": policy,
        "ppo/policy/approxkl": mean(0.5 * change**2),
        "ppo/policy/policykl": mean(-change),
        "ppo/policy/clipfrac": mean(clipped.float()),
        "ppo/policy/ratio_gap": mean((change.exp() - 1).abs()),
        "ppo/policy/advantages_mean": mean(batch.advantages),
    }
    if isinstance(config, WithValues):
        vf, vf_clipped = value_loss(new.values, batch.old_values, batch.returns, config.value_clip_range)
        value = weighed(vf)
        total = total + config.vf_coef * value
        metrics |= {
            "ppo/loss/value": value,
            "ppo/val/vpred": mean(new.values),
            "ppo/val/error": mean((new.values - batch.returns) ** 2),
            "ppo/val/clipfrac": mean(vf_clipped.float()),
        }
    if config.kl_in == "loss":
        penalty = weighed(
            kl_to_reference(config.kl_estimator, new.logprobs, new.full, batch.ref_logprobs, batch.ref_full)
        )
        total = total + kl_coef * penalty
        metrics["ppo/loss/kl"] = penalty
    with torch.set_grad_enabled(config.entropy_coef > 0):
        bonus = entropy(new.full)
    if config.entropy_coef > 0:
        total = total - config.entropy_coef * weighed(bonus)
    return total, {**metrics, "ppo/policy/entropy": mean(bonus), "ppo/loss/total": total}


def minibatch_metrics(batch: Batch, config: AnyAlgorithm) -> Metrics:
    """What values were to be drawn to, and where they stood before."""
    if not isinstance(config, WithValues):
        return {}
    return {
        "ppo/returns/mean": masked_mean(batch.returns, batch.mask).item(),
        "ppo/returns/var": masked_var(batch.returns, batch.mask).item(),
        "ppo/val/mean": masked_mean(batch.old_values, batch.mask).item(),
        "ppo/val/var": masked_var(batch.old_values, batch.mask).item(),
    }


def step_metrics(batch: Batch, kl_coef: float) -> Metrics:
    """What a step's rollouts were like before the update. Names are trl's where trl had the figure."""
    log_ratio = batch.old_logprobs - batch.ref_logprobs
    lengths = batch.mask.sum(dim=1).float()
    metrics = {
        "objective/kl": sequence_sum(batch.kl, batch.mask).mean(),
        "objective/kl_k1": sequence_sum(kl_estimate("k1", log_ratio, torch.zeros(())), batch.mask).mean(),
        "objective/kl_k3": sequence_sum(kl_estimate("k3", log_ratio, torch.zeros(())), batch.mask).mean(),
        "objective/entropy": sequence_sum(-batch.old_logprobs, batch.mask).mean(),
        "ppo/mean_scores": batch.scores.mean(),
        "ppo/std_scores": batch.scores.std(unbiased=len(batch.scores) > 1),
        "ppo/mean_non_score_reward": masked_mean(-kl_coef * batch.kl, batch.mask),
        "toxicity/mean": batch.toxicity.mean(),
        "tokens/completions_mean": lengths.mean(),
        "tokens/completions": lengths.sum(),
        "rollout/cut": (~batch.ended).float().mean(),
    }
    return {"objective/kl_coef": kl_coef} | {name: value.item() for name, value in metrics.items()}


def watch_metrics(experiences: list[Experience]) -> Metrics:
    """Means of what is watched beside the reward, and the share of prompts that got the commonest completion."""
    prompts_of: dict[str, set[int]] = {}
    for rollouts in (e.rollouts for e in experiences):
        for row, text in zip(rollouts.unit.rows, rollouts.texts, strict=True):
            prompts_of.setdefault(text, set()).add(row)
    watched = {name: torch.cat([e.scores.watched[name] for e in experiences]) for name in experiences[0].scores.watched}
    commonest, prompts = max(map(len, prompts_of.values())), set().union(*prompts_of.values())
    return {f"watch/{name}": column.float().mean().item() for name, column in watched.items()} | {
        "watch/commonest": commonest / len(prompts)
    }


def group_metrics(batch: Batch, names: list[str], config: AnyAlgorithm) -> Metrics:
    """The same by group, so that a group that gets worse is seen; only for groups across prompts."""
    if not isinstance(config, GroupedPPO):
        return {}
    metrics: Metrics = {}
    for number in batch.groups.unique().tolist():
        rows = batch.rows((batch.groups == number).nonzero().squeeze(1))
        metrics |= {
            f"group/{names[number]}/score": rows.scores.mean().item(),
            f"group/{names[number]}/advantage": masked_mean(rows.advantages, rows.mask).item(),
            f"group/{names[number]}/kl": sequence_sum(rows.kl, rows.mask).mean().item(),
            f"group/{names[number]}/toxicity": rows.toxicity.mean().item(),
            f"group/{names[number]}/completions": len(rows.mask),
        }
    return metrics
