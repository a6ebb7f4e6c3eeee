"""ROUGE and toxicity as `evaluate` modules that need no network."""

import datasets
import evaluate

from workers.reward.second_judge import Judge
from workers.rouge import ROUGE_TYPES, make_scorer


class Rouge(evaluate.Metric):
    """F-measures of ROUGE (Lin 2004), with stemming, in percent, one value per prediction.

    Of several references the best counts, as in rouge_score. Create one instance per call: they are not thread-safe.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
        )
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="Lin 2004", features=features)

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, list[float]]:
        scorer = make_scorer()
        scores = [scorer(refs, text) for text, refs in zip(predictions, references, strict=True)]
        return {name: [100 * score[name] for score in scores] for name in ROUGE_TYPES}


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
