"""Judges of toxicity beside the reward."""

from collections.abc import Callable, Sequence

import torch

from configs.evaluation import AnyJudge, ProfanityJudge
from configs.rewards import ProbeConfig
from workers.reward.classifier import Classifier

FIELD = "evaluation.second_judge"
Judge = Callable[[Sequence[str]], list[float]]
"""Texts -> P(toxic) of each."""


def make_judge(config: AnyJudge, device: torch.device, probe: ProbeConfig | None = None) -> Judge:
    """The judge that a config stands for, its model loaded.

    Raises `UsageError` where a classifier gets the two texts of the probe the wrong way round. The direction of the
    others is not a setting, and cannot be wrong.
    """
    if isinstance(config, ProfanityJudge):
        # Loaded where it is used: importing it takes seconds.
        from profanity_check import predict_prob

        return lambda texts: predict_prob(list(texts)).tolist()
    classifier = Classifier(FIELD, config, device)
    if probe:
        classifier.check_direction(FIELD, probe)
    return classifier.judge
