"""The parts of a reward, made from their settings."""

import torch

from configs.reward_parts import (
    BleuReward,
    ChrfReward,
    ClassifierReward,
    EnsembleReward,
    ExactReward,
    FunctionReward,
    HttpReward,
    LengthReward,
    MetricReward,
    PairReward,
    RegexReward,
    RougeReward,
)
from configs.rewards import AnyPart
from workers.reward import rules
from workers.reward.function import FunctionScorer
from workers.reward.items import Reward
from workers.reward.metric import MetricScorer
from workers.reward.pairs import PairScorer
from workers.reward.remote import RemoteScorer
from workers.reward.texts import TextScorer


def make_reward(field: str, part: AnyPart, device: torch.device) -> Reward:
    """The reward of a part's settings. Raises `UsageError` naming `field` if it cannot be used."""
    match part:
        case ClassifierReward() | EnsembleReward():
            return TextScorer(field, part, _device(part.device, device))
        case PairReward():
            return PairScorer(field, part, _device(part.device, device))
        case HttpReward():
            return RemoteScorer(field, part)
        case FunctionReward():
            return FunctionScorer(f"{field}.function", part.function)
        case MetricReward():
            return MetricScorer(field, part)
        case RougeReward():
            return rules.rouge(part)
        case ChrfReward():
            return rules.chrf(part)
        case BleuReward():
            return rules.bleu(part)
        case ExactReward():
            return rules.exact(part)
        case LengthReward():
            return rules.length(part)
        case RegexReward():
            return rules.regex(part)


def _device(setting: str, device: torch.device) -> torch.device:
    return device if setting == "auto" or device.type == "meta" else torch.device(setting)
