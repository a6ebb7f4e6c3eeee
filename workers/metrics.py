"""ROUGE as an `evaluate` metric that needs no network."""

import datasets
import evaluate

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge(evaluate.Metric):
    """F-measures of ROUGE (Lin 2004), with stemming, in percent, one figure per prediction.

    Of several references the best one counts, as in rouge_score. Make one instance per call: they are not thread-safe.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
        )
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="Lin 2004", features=features)

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, list[float]]:
        # Loaded where it is used: importing it takes seconds, by which the first step would be later.
        from rouge_score import rouge_scorer

        scorer = rouge_scorer.RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
        scores = [scorer.score_multi(refs, text) for text, refs in zip(predictions, references, strict=True)]
        return {name: [100 * score[name].fmeasure for score in scores] for name in ROUGE_TYPES}
