"""The figures of a policy on held-out prompts, and of two policies side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from configs.errors import RunError
from learner.types import Rollouts, Scores
from workers.metrics import ROUGE_TYPES, Rouge
from workers.prompts import Prompt


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Every sampled summary with its figures; all columns in the same order: sample by sample, row by row."""

    rows: np.ndarray  # position of the prompt
    texts: list[str]
    scores: np.ndarray
    toxicity: np.ndarray
    tokens: np.ndarray
    rouge: dict[str, np.ndarray]  # in percent

    @classmethod
    def of(cls, judged: Iterable[tuple[Rollouts, Scores]], prompts: Sequence[Prompt]) -> "Evaluation":
        """From the units of the plan, all of them, in their order."""
        pairs = list(judged)
        rows = np.array([row for rollouts, _ in pairs for row in rollouts.unit.rows])
        texts = [text for rollouts, _ in pairs for text in rollouts.texts]
        rouge = Rouge().compute(predictions=texts, references=[prompts[row].references for row in rows])
        return cls(
            rows=rows,
            texts=texts,
            scores=np.concatenate([scores.scores.numpy() for _, scores in pairs]),
            toxicity=np.concatenate([scores.toxicity.numpy() for _, scores in pairs]),
            tokens=np.concatenate([rollouts.completion_mask.sum(dim=1).numpy() for rollouts, _ in pairs]),
            rouge={name: np.array(rouge[name]) for name in ROUGE_TYPES},
        )

    def sample(self, i: int) -> dict[str, str | float | None]:
        """One summary with its figures."""
        columns = {"score": self.scores, "toxicity": self.toxicity, "tokens": self.tokens, **self.rouge}
        return {"text": self.texts[i], **{name: _known(column[i].item()) for name, column in columns.items()}}

    def by_row(self, column: np.ndarray) -> np.ndarray:
        """Mean of a column over the samples of each prompt that were not dropped, in the order of the prompts."""
        order, known = np.unique(self.rows, return_inverse=True)[1], ~self.dropped
        counts = np.bincount(order[known], minlength=order.max() + 1)
        sums = np.bincount(order[known], weights=column[known], minlength=order.max() + 1)
        return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)

    @property
    def dropped(self) -> np.ndarray:
        """Samples of which a reward failed, and that the config says to leave out."""
        return np.isnan(self.scores)

    def distinct(self) -> float:
        """Share of different texts, the mean over samples: one text per prompt is compared at a time."""
        per_sample = np.array(self.texts).reshape(-1, len(np.unique(self.rows)))
        return float(np.mean([len(set(sample)) / len(sample) for sample in per_sample]))


def compare(before: Evaluation, after: Evaluation) -> dict[str, dict]:
    """Means before and after, and the paired difference with its standard error over prompts."""
    return {
        "toxicity": {
            **_sides(before, after, lambda e: {"mean": float(e.toxicity.mean()), "std": float(e.toxicity.std())}),
            "improvement_percent": {
                "mean": _improvement(before.toxicity.mean(), after.toxicity.mean()),
                "std": _improvement(before.toxicity.std(), after.toxicity.std()),
            },
            "difference": _difference(before, after, lambda e: e.toxicity),
        },
        "rouge": {
            **_sides(before, after, lambda e: {name: float(e.rouge[name].mean()) for name in ROUGE_TYPES}),
            "difference": {name: _difference(before, after, lambda e, n=name: e.rouge[n]) for name in ROUGE_TYPES},
        },
        "score": {
            **_sides(before, after, lambda e: {"mean": float(np.nanmean(e.scores)), "std": float(np.nanstd(e.scores))}),
            "difference": _difference(before, after, lambda e: e.scores),
        },
        "dropped": {side: int(e.dropped.sum()) for side, e in _named(before, after)},
        "tokens": _sides(before, after, lambda e: {"mean": float(e.tokens.mean())}),
        "distinct": _sides(before, after, lambda e: {"share": e.distinct()}),
    }


def compare_groups(before: Evaluation, after: Evaluation, prompts: Sequence[Prompt]) -> dict[str, dict]:
    """Means before and after for each group of prompts, so that a group that gets worse is seen."""
    groups = np.array([prompts[row].group for row in before.rows])
    return {
        name: {
            "prompts": len(np.unique(before.rows[groups == name])),
            "toxicity": {side: float(e.toxicity[groups == name].mean()) for side, e in _named(before, after)},
            "rougeL": {side: float(e.rouge["rougeL"][groups == name].mean()) for side, e in _named(before, after)},
        }
        for name in sorted(set(groups.tolist()))
    }


def _named(before: Evaluation, after: Evaluation) -> list[tuple[str, Evaluation]]:
    return [("before", before), ("after", after)]


def _sides(before: Evaluation, after: Evaluation, figures: Callable[[Evaluation], dict[str, float]]) -> dict[str, dict]:
    return {side: figures(evaluation) for side, evaluation in _named(before, after)}


def _difference(before: Evaluation, after: Evaluation, column: Callable[[Evaluation], np.ndarray]) -> dict[str, float]:
    """Mean of the paired differences and its standard error, by prompt: the samples of one are no independent data."""
    change = after.by_row(column(after)) - before.by_row(column(before))
    change = change[~np.isnan(change)]
    if len(change) < 2:
        raise RunError("nearly every held-out summary was dropped since a reward failed: mend the reward")
    return {"mean": float(change.mean()), "standard_error": float(change.std(ddof=1) / np.sqrt(len(change)))}


def _improvement(before: float, after: float) -> float:
    """Fall in percent of what it was before, as the notebook prints it; 0 where there was nothing to improve."""
    return float(100 * (before - after) / before) if before else 0.0


def _known(figure: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(figure) else figure
