"""Judges of toxicity beside the reward."""

from collections.abc import Callable, Sequence

import torch

from configs.evaluation import AnyJudge, Profanity
from workers.classifier import Classifier

Judge = Callable[[Sequence[str]], list[float]]
"""Texts -> P(toxic) of each."""


def make_judge(config: AnyJudge, device: torch.device) -> Judge:
    """The judge that a config stands for, its model loaded."""
    if isinstance(config, Profanity):
        # Loaded where it is used: importing it takes seconds.
        from profanity_check import predict_prob

        return lambda texts: predict_prob(list(texts)).tolist()
    return Classifier(config.model, config.label, config.dtype, device).judge
