"""Toxicity as a module of `evaluate` that needs no network."""

import datasets
import evaluate

from workers.reward.second_judge import Judge


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
