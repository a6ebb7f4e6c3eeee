"""Judges of toxicity beside the reward, and toxicity as an `evaluate` measurement."""

from collections.abc import Callable, Sequence

import datasets
import evaluate
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


class Toxicity(evaluate.Measurement):
    """P(toxic) of each text by a judge, without a network: `Toxicity(judge).compute(predictions=texts)["toxicity"]`."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(keep_in_memory=True)
        self.judge = judge

    def _info(self) -> evaluate.MeasurementInfo:
        features = datasets.Features({"predictions": datasets.Value("string")})
        return evaluate.MeasurementInfo(description=self.__doc__ or "", citation="", features=features)

    def _compute(self, predictions: list[str]) -> dict[str, list[float]]:
        return {"toxicity": self.judge(predictions)}
