"""The loss of a unit of preferences: a pure function of the unit and its completions' log-probabilities."""

import torch
from torch import Tensor

from configs.dpo import CPO, DPO, IPO, KTO, ORPO, AnyPreferenceLoss, SimPO
from learner.metrics import Metrics
from learner.preferences.losses import ipo_loss, kto_loss, odds_ratio_loss, sigmoid_loss
from learner.preferences.unit import Measured, PreferenceUnit


def measure(
    config: AnyPreferenceLoss, unit: PreferenceUnit, logprobs: Tensor, reference: Tensor, divergence: Tensor
) -> tuple[Tensor, Measured]:
    """The unit's part of the batch's mean loss, [], and what was measured on the way.

    `logprobs` and `reference` [B, 2] are those of the two completions, sums over tokens; `divergence` is KTO's.
    """
    losses = example_losses(config, unit, logprobs, reference, divergence)
    known = logprobs.detach()
    rewards = config.beta * (known - reference)
    if isinstance(config, SimPO | ORPO):  # as trl reports them: their losses see means over tokens
        rewards = rewards / unit.lengths
    columns = (losses.detach(), rewards, known, reference, unit.targets, unit.lengths)
    return losses.sum() / unit.batch.examples, Measured(*[x.cpu() for x in columns], divergence.item())


def example_losses(
    config: AnyPreferenceLoss, unit: PreferenceUnit, logprobs: Tensor, reference: Tensor, divergence: Tensor
) -> Tensor:
    """Loss of each example, [B]."""
    log_ratios, per_token = logprobs - reference, logprobs / unit.lengths
    margins = log_ratios[:, 0] - log_ratios[:, 1]
    match config:
        case DPO():
            return sigmoid_loss(config.beta * margins, unit.targets, config.label_smoothing)
        case IPO():
            return ipo_loss(margins, unit.targets, config.beta)
        case CPO():
            preferred = sigmoid_loss(config.beta * margins, unit.targets, config.label_smoothing)
            return preferred + config.nll_weight * _likelihood(unit, logprobs)
        case ORPO():
            return config.beta * odds_ratio_loss(*per_token.unbind(1)) + _likelihood(unit, logprobs)
        case SimPO():
            difference = per_token[:, 0] - per_token[:, 1]
            return sigmoid_loss(config.beta * difference - config.gamma, unit.targets)
        case KTO():
            weights = config.desirable_weight, config.undesirable_weight
            return kto_loss(log_ratios[:, 0], unit.targets > 0.5, divergence, config.beta, weights)


def _likelihood(unit: PreferenceUnit, logprobs: Tensor) -> Tensor:
    """Negative log-likelihood of the chosen completions [B], whose mean over the batch is that over its tokens."""
    return -logprobs[:, 0] * (unit.batch.examples / unit.batch.tokens)


def summarise(parts: list[Measured], config: AnyPreferenceLoss) -> Metrics:
    """Metrics of a batch from those of its units, in order; docs/metrics.md explains each name."""
    losses, rewards, logprobs, reference, targets, lengths = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("losses", "rewards", "logprobs", "reference", "targets", "lengths")
    )
    metrics = {"loss/total": losses.mean(), "tokens/completions": lengths.sum().float()}
    if isinstance(config, KTO):
        metrics |= _of_ratings(rewards[:, 0], logprobs[:, 0], targets > 0.5, config.beta * parts[0].divergence)
        metrics["objective/kl"] = torch.tensor(parts[0].divergence)
    else:
        metrics |= _of_pairs(rewards, logprobs, targets == 1)
    if config.with_reference:
        metrics["objective/logprob_gap"] = ((logprobs - reference).abs() / lengths).mean()
    return {name: value.item() for name, value in metrics.items()}


def _of_pairs(rewards: Tensor, logprobs: Tensor, decided: Tensor) -> dict[str, Tensor]:
    """Means over the pairs of which one was preferred; NaN if there is none."""
    rewards, logprobs = rewards[decided], logprobs[decided]
    return {
        "rewards/accuracies": (rewards[:, 0] > rewards[:, 1]).float().mean(),
        **_both(rewards[:, 0], rewards[:, 1], "rewards"),
        **_both(logprobs[:, 0], logprobs[:, 1], "logps"),
    }


def _of_ratings(rewards: Tensor, logprobs: Tensor, desirable: Tensor, zero: float) -> dict[str, Tensor]:
    """Means over the completions with a thumb up and over those with a thumb down; NaN where there is none."""
    return {
        "rewards/accuracies": ((rewards > zero) == desirable).float().mean(),
        **_both(rewards[desirable], rewards[~desirable], "rewards"),
        **_both(logprobs[desirable], logprobs[~desirable], "logps"),
    }


def _both(chosen: Tensor, rejected: Tensor, name: str) -> dict[str, Tensor]:
    chosen, rejected = chosen.mean(), rejected.mean()
    margins = {"rewards/margins": chosen - rejected} if name == "rewards" else {}
    return {f"{name}/chosen": chosen, f"{name}/rejected": rejected} | margins
