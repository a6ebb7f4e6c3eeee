"""Proximal policy optimisation: what one step's experiences become, and the loss of a microbatch of them.

As in trl 0.11.3, except that the first token is trained too and that padding changes nothing.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from configs.algorithms import PPO
from learner.advantages import gae
from learner.losses import entropy, policy_loss, value_loss
from learner.policy import Forward
from learner.rewards import k1, k3, sequence_sum, token_rewards
from learner.tensors import masked_mean, masked_sum, masked_var, pad_cat, whiten
from learner.types import Experience


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's experiences on top of each other, in plan order, padded to the widest; fixed over all epochs."""

    prompt_ids: Tensor  # [B, S]
    prompt_mask: Tensor  # [B, S]
    completion_ids: Tensor  # [B, T]
    mask: Tensor  # [B, T], the completion mask
    old_logprobs: Tensor  # [B, T]
    old_values: Tensor  # [B, T]
    kl: Tensor  # [B, T], k1 against the reference
    advantages: Tensor  # [B, T], whitened over the batch
    returns: Tensor  # [B, T]

    def rows(self, index: Tensor, device: torch.device) -> "Batch":
        """The sequences at `index`, at the whole batch's width."""
        return Batch(**{f.name: getattr(self, f.name)[index].to(device) for f in fields(self)})


def prepare(experiences: list[Experience], old: list[Forward], config: PPO, kl_coef: float) -> Batch:
    """Rewards, advantages and returns of a step; `old` are the sampling policy's passes, unit by unit."""
    rollouts = [e.rollouts for e in experiences]
    mask = pad_cat([r.completion_mask for r in rollouts])
    logprobs, values = pad_cat([f.logprobs for f in old]), pad_cat([f.values for f in old])
    kl = k1(logprobs, pad_cat([e.ref_logprobs for e in experiences])).masked_fill(~mask, 0)
    rewards = token_rewards(torch.cat([e.scores for e in experiences]), kl, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, config.gamma, config.gae_lambda)
    return Batch(
        prompt_ids=pad_cat([r.unit.prompt_ids for r in rollouts]),
        prompt_mask=pad_cat([r.unit.prompt_mask for r in rollouts]),
        completion_ids=pad_cat([r.completion_ids for r in rollouts]),
        mask=mask,
        old_logprobs=logprobs,
        old_values=values,
        kl=kl,
        advantages=whiten(advantages, mask),
        returns=returns,
    )


def loss(new: Forward, batch: Batch, config: PPO, tokens: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a microbatch of a minibatch with `tokens` active tokens, and its share of the minibatch's metrics.

    Every term is a sum over active tokens divided by the *minibatch's* tokens, so that the shares of any split into
    microbatches add up to the same loss and gradient.
    """
    pg, pg_clipped = policy_loss(new.logprobs, batch.old_logprobs, batch.advantages, config.clip_range)
    vf, vf_clipped = value_loss(new.values, batch.old_values, batch.returns, config.value_clip_range)

    def mean(x: Tensor) -> Tensor:
        return masked_sum(x, batch.mask) / tokens

    total = mean(pg) + config.vf_coef * mean(vf)
    with torch.no_grad():
        change = new.logprobs - batch.old_logprobs
        metrics = {
            "ppo/loss/policy": mean(pg),
            "ppo/loss/value": mean(vf),
            "ppo/loss/total": total.detach(),
            "ppo/policy/entropy": mean(entropy(new.logits)),
            "ppo/policy/approxkl": mean(0.5 * change**2),
            "ppo/policy/policykl": mean(-change),
            "ppo/policy/clipfrac": mean(pg_clipped.float()),
            "ppo/policy/ratio_gap": mean((change.exp() - 1).abs()),
            "ppo/policy/advantages_mean": mean(batch.advantages),
            "ppo/val/vpred": mean(new.values),
            "ppo/val/error": mean((new.values - batch.returns) ** 2),
            "ppo/val/clipfrac": mean(vf_clipped.float()),
        }
    return total, metrics


def batch_metrics(batch: Batch, experiences: list[Experience], kl_coef: float) -> dict[str, float]:
    """What a step's rollouts were like, before the update. Names are trl's where trl had the figure."""
    mask, scores = batch.mask, torch.cat([e.scores for e in experiences])
    recorded = pad_cat([e.rollouts.logprobs for e in experiences])
    log_ratio = batch.kl  # logprobs - ref_logprobs
    lengths = mask.sum(dim=1).float()
    metrics = {
        "objective/kl": sequence_sum(batch.kl, mask).mean(),
        "objective/kl_k3": sequence_sum(k3(log_ratio, torch.zeros_like(log_ratio)), mask).mean(),
        "objective/kl_coef": torch.tensor(kl_coef),
        "objective/entropy": sequence_sum(-batch.old_logprobs, mask).mean(),
        "ppo/mean_scores": scores.mean(),
        "ppo/std_scores": scores.std(),
        "ppo/mean_non_score_reward": masked_mean(-kl_coef * batch.kl, mask),
        "ppo/returns/mean": masked_mean(batch.returns, mask),
        "ppo/returns/var": masked_var(batch.returns, mask),
        "ppo/val/mean": masked_mean(batch.old_values, mask),
        "ppo/val/var": masked_var(batch.old_values, mask),
        "toxicity/mean": torch.cat([e.toxicity for e in experiences]).mean(),
        "tokens/completions_mean": lengths.mean(),
        "tokens/completions": lengths.sum(),
        "rollout/logprob_gap": masked_mean((recorded - batch.old_logprobs).abs(), mask),
    }
    return {name: value.item() for name, value in metrics.items()}
