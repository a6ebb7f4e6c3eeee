"""Metrics of a step. docs/metrics.md explains each name."""

import torch

from configs.algorithms import AnyAlgorithm, GroupedPPO, WithValues
from learner.batch import Batch, group_names
from learner.distribution import unpack
from learner.rewards import kl_estimate
from learner.tensors import masked_mean, masked_var, sequence_sum
from learner.types import Experience, Rollouts, Scores, Tensors

Metrics = dict[str, float]
NOTEBOOK_NAMES = {
    "value/returns_mean": "ppo/returns/mean",
    "policy/advantages_mean": "ppo/policy/advantages_mean",
}
"""Metrics of algorithms with a value head that are also reported under trl's names, which the notebook prints."""


def step_metrics(batch: Batch, experiences: list[Experience], algorithm: AnyAlgorithm, kl_coef: float) -> Metrics:
    """Metrics of a step's rollouts, before the update."""
    return {
        **_batch_metrics(batch, kl_coef),
        **_rollout_metrics(experiences),
        **_version_metrics([e.scores for e in experiences]),
        **_watch_metrics(experiences),
        **(_group_metrics(batch, experiences) if isinstance(algorithm, GroupedPPO) else {}),
    }


def _batch_metrics(batch: Batch, kl_coef: float) -> Metrics:
    log_ratio = batch.old_logprobs - batch.ref_logprobs
    lengths = batch.mask.sum(dim=1).float()
    metrics = {
        "objective/kl": sequence_sum(batch.kl, batch.mask).mean(),
        "objective/kl_k1": sequence_sum(kl_estimate("k1", log_ratio, torch.zeros(())), batch.mask).mean(),
        "objective/kl_k3": sequence_sum(kl_estimate("k3", log_ratio, torch.zeros(())), batch.mask).mean(),
        "objective/entropy": sequence_sum(-batch.old_logprobs, batch.mask).mean(),
        "reward/mean": batch.scores.mean(),
        "reward/std": batch.scores.std(unbiased=len(batch.scores) > 1),
        "reward/kl_penalty": masked_mean(-kl_coef * batch.kl, batch.mask),
        "tokens/completions_mean": lengths.mean(),
        "tokens/completions": lengths.sum(),
        "rollout/cut": (~batch.ended).float().mean(),
    }
    return {"objective/kl_coef": kl_coef} | {name: value.item() for name, value in metrics.items()}


def _rollout_metrics(experiences: list[Experience]) -> Metrics:
    """Raw scores and failures by reward, dropped completions, the gap of recorded to recomputed log-probabilities."""
    gaps = [(e.rollouts.logprobs - e.old.logprobs)[e.rollouts.completion_mask].abs() for e in experiences]
    parts = _columns([e.scores.parts for e in experiences])
    return {
        **{f"score/{name}": part.nanmean().item() for name, part in parts.items()},
        **{f"failed/{name}": int(part.isnan().sum()) for name, part in parts.items()},
        "rollout/logprob_gap": torch.cat(gaps).mean().item(),
        **_kept_metrics([e.rollouts for e in experiences]),
        "rollout/dropped": sum(int(e.scores.dropped.sum()) for e in experiences),
    }


def _version_metrics(scores: list[Scores]) -> Metrics:
    """The reward's version; in the first steps of one, mean totals of the same completions by the old and the new."""
    metrics: Metrics = {"reward/version": scores[0].version}
    if len(before := torch.cat([unit.before for unit in scores])):
        totals = torch.cat([unit.scores for unit in scores])
        metrics |= {"reward/old_total": before.nanmean().item(), "reward/new_total": totals.nanmean().item()}
    return metrics


def _kept_metrics(rollouts: list[Rollouts]) -> Metrics:
    """Mean number of tokens that truncation left to draw from; none without truncation."""
    masks = [r.sampling_mask[r.completion_mask] for r in rollouts]
    if not masks[0].shape[1]:
        return {}
    return {
        "rollout/kept_tokens": torch.cat([unpack(m, 8 * m.shape[1]).sum(dim=1) for m in masks]).float().mean().item()
    }


def _watch_metrics(experiences: list[Experience]) -> Metrics:
    """Means of the watched measures, and the share of prompts that have the most common completion."""
    prompts_of: dict[str, set[int]] = {}
    for rollouts in (e.rollouts for e in experiences):
        for row, text in zip(rollouts.unit.rows, rollouts.texts, strict=True):
            prompts_of.setdefault(text, set()).add(row)
    commonest, prompts = max(map(len, prompts_of.values())), set().union(*prompts_of.values())
    watched = _columns([e.scores.watched for e in experiences])
    means = {f"watch/{name}": column.float().nanmean().item() for name, column in watched.items()}
    return means | {"watch/commonest": commonest / len(prompts)}


def _group_metrics(batch: Batch, experiences: list[Experience]) -> Metrics:
    """The main metrics by group, so that a deteriorating group is noticed."""
    metrics: Metrics = {}
    names, members = group_names(experiences), [name for e in experiences for name in e.rollouts.unit.groups]
    watched = _columns([e.scores.watched for e in experiences])
    for number in batch.groups.unique().tolist():
        name, rows = names[number], batch.rows((batch.groups == number).nonzero().squeeze(1))
        in_group = torch.tensor([member == name for member in members])
        metrics |= {
            f"group/{name}/reward": rows.scores.mean().item(),
            f"group/{name}/advantage": masked_mean(rows.advantages, rows.mask).item(),
            f"group/{name}/kl": sequence_sum(rows.kl, rows.mask).mean().item(),
            f"group/{name}/completions": len(rows.mask),
        }
        metrics |= {f"group/{name}/watch/{key}": x[in_group].float().nanmean().item() for key, x in watched.items()}
    return metrics


def _columns(units: list[Tensors]) -> Tensors:
    """Columns [B] of several units, each concatenated."""
    return {name: torch.cat([unit[name] for unit in units]) for name in units[0]}


def minibatch_metrics(batch: Batch, algorithm: AnyAlgorithm) -> Metrics:
    """Metrics of a minibatch's returns and old values; none without a value head."""
    if not isinstance(algorithm, WithValues):
        return {}
    return {
        "value/returns_mean": masked_mean(batch.returns, batch.mask).item(),
        "value/returns_var": masked_var(batch.returns, batch.mask).item(),
        "value/old_mean": masked_mean(batch.old_values, batch.mask).item(),
        "value/old_var": masked_var(batch.old_values, batch.mask).item(),
    }


def update_metrics(history: tuple[Metrics, ...], epochs: int, learning_rate: float) -> Metrics:
    """Means over a step's minibatches, whose metrics are in `history`."""
    metrics = {name: sum(m[name] for m in history) / len(history) for name in history[0]}
    # Nothing has changed yet at the first minibatch: any gap is rounding or, with run_ahead, the previous update.
    metrics["policy/first_ratio_gap"] = history[0]["policy/ratio_gap"]
    metrics |= {"optimizer/epochs": epochs, "optimizer/learning_rate": learning_rate}
    if "value/error" in metrics:
        metrics["value/explained_variance"] = 1 - metrics["value/error"] / max(metrics["value/returns_var"], 1e-8)
        metrics |= {notebook: metrics[name] for name, notebook in NOTEBOOK_NAMES.items()}
    return metrics
