"""Toxicity judges besides the reward."""

from collections.abc import Callable, Sequence

import torch

from configs.evaluation import AnyJudge, ProfanityJudge
from workers.reward.classifier import Classifier

FIELD = "evaluation.second_judge"
Judge = Callable[[Sequence[str]], list[float]]
"""Texts -> P(toxic) of each."""


def make_judge(config: AnyJudge, device: torch.device) -> Judge:
    """The judge of a config, with its model loaded.

    Raises `UsageError` if a classifier ranks the two texts of its probe the wrong way round. The direction of other
    judges is not a setting, so it cannot be wrong.
    """
    if isinstance(config, ProfanityJudge):
        # Imported here because it takes seconds.
        from profanity_check import predict_prob

        return lambda texts: predict_prob(list(texts)).tolist()
    classifier = Classifier(FIELD, config, device)
    if config.probe:
        classifier.check_direction(config.probe)
    return classifier.judge
