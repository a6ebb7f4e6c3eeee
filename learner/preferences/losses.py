"""Losses of preferences, [B] each, from log-probabilities of whole completions [B]: sums over tokens, unless said.

`targets` [B]: how surely the first completion is the better one; 1, or 0.5 for a tie.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

NEVER_CERTAIN = -1e-7
"""Largest log-probability per token whose odds are still finite in float32."""


def sigmoid_loss(margins: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of "the first is better", whose log-odds are the margins.

    Of beta times the difference of two log-ratios: DPO (Rafailov et al. 2023, equation 7); of log-probabilities: CPO's
    preference term (Xu et al. 2024, equation 3); less gamma, per token: SimPO (Meng et al. 2024, equation 6).
    """
    sure = label_smoothing + (1 - 2 * label_smoothing) * targets
    return -sure * logsigmoid(margins) - (1 - sure) * logsigmoid(-margins)


def ipo_loss(margins: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Squared distance of log-ratios' difference from 1 / (2 beta), of ties from 0 (Azar et al. 2023, equation 17)."""
    return (margins - (2 * targets - 1) / (2 * beta)) ** 2


def odds_ratio_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """The odds ratio term of ORPO (Hong et al. 2024, equation 7), from log-probabilities per token."""
    return -logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _log_odds(logprobs: Tensor) -> Tensor:
    """log(p / (1 - p))."""
    logprobs = logprobs.clamp(max=NEVER_CERTAIN)
    # Whichever of the two loses no digits; both are computed, and neither gradient is infinite.
    small = logprobs < -0.693
    others = torch.where(small, torch.log1p(-logprobs.exp()), torch.log(-torch.expm1(logprobs)))
    return logprobs - others


def kto_loss(
    log_ratios: Tensor, desirable: Tensor, divergence: Tensor, beta: float, weights: tuple[float, float]
) -> Tensor:
    """KTO (Ethayarajh et al. 2024, equation 7) of single completions, `desirable` [B] where the thumb is up.

    `divergence` []: estimate of the KL from the policy to its reference, the point from which both are judged, without
    a gradient; `weights`: of desirable and of undesirable completions.
    """
    gains = beta * (log_ratios - divergence)
    value = torch.where(desirable, torch.sigmoid(gains), torch.sigmoid(-gains))
    return torch.where(desirable, weights[0], weights[1]) * (1 - value)


def mismatched_kl(log_ratios: Tensor) -> Tensor:
    """KTO's estimate of the KL, []: mean log-ratio of completions of other prompts, at least 0."""
    return log_ratios.mean().clamp(min=0)
