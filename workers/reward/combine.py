"""From the scores of the parts to one score per completion."""

import torch
from torch import Tensor

from configs.reward_parts import Part
from configs.rewards import RewardConfig
from learner.types import Tensors

NEUTRAL = {"sum": 0.0, "min": torch.inf, "product": 1.0}
"""What a skipped part counts as, by `reward.combine`."""


def combine(config: RewardConfig, scores: Tensors) -> Tensor:
    """Total scores [B] of the parts' raw scores [B], which are NaN where a part failed.

    NaN for a completion to be dropped: one for which a part failed that is not skipped, or all parts did. A gate
    multiplies the total by 0 or 1; gates alone make a total of 0 or 1.
    """
    parts = {name: part for name, part in config.parts.items() if part.gate is None and part.weight}
    gates = [_gate(part.gate, scores[name]) for name, part in config.parts.items() if part.gate is not None]
    ungated = _total(config, {name: _term(part, scores[name]) for name, part in parts.items()}) if parts else None
    for gate in gates:
        # Where the gate is closed, 0 whatever the parts are; NaN of a failed gate stays.
        ungated = gate if ungated is None else torch.where(gate == 0, gate, ungated * gate)
    unweighted = torch.zeros_like(next(iter(scores.values())))  # only measures, none of which is rewarded
    return unweighted if ungated is None else ungated


def _term(part: Part, score: Tensor) -> Tensor:
    score = standardised(part, score)
    if part.clip:
        score = score.clamp(*part.clip)
    return part.weight * score


def standardised(part: Part, score: Tensor) -> Tensor:
    """Raw scores [B] after the part's `standardise`."""
    return (score - part.standardise.mean) / part.standardise.std if part.standardise else score


def _gate(threshold: float, score: Tensor) -> Tensor:
    return torch.where(score.isnan(), score, (score >= threshold).to(score.dtype))


def _total(config: RewardConfig, terms: Tensors) -> Tensor:
    skipped = {name: config.parts[name].on_failure == "skip" for name in terms}
    filled = [x.where(~x.isnan(), NEUTRAL[config.combine]) if skipped[name] else x for name, x in terms.items()]
    stacked = torch.stack(filled)  # [parts, B]
    total = {"sum": stacked.sum, "min": stacked.amin, "product": stacked.prod}[config.combine](dim=0)
    return total.where(~torch.stack(list(terms.values())).isnan().all(dim=0), torch.nan)
