"""What held-out summaries are measured by, and how each measure is reported. Of all but toxicity, more is better."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from configs.evaluation import EvaluationConfig
from configs.reward_parts import BleuReward, ChrfReward, MetricReward, Part, RougeReward

PERCENT = (RougeReward, ChrfReward, BleuReward)
"""Kinds of metrics that are reported in percent, as is customary."""
ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
PART = "score/"
"""Prefix of the columns with the raw scores of the reward's parts."""


@dataclass(frozen=True)
class Measure:
    """A measure of a summary, and how it is reported."""

    name: str  # its column
    title: str
    digits: int
    toxic: bool = False  # a probability of being toxic
    percent: bool = False
    sampled_only: bool = False  # meaningless for greedy summaries
    chief: bool = False  # in the verdict, by group, side by side, and also printed for greedy summaries

    @property
    def short(self) -> str:
        """Title where there is little room."""
        return "toxicity" if self.name == "toxicity" else self.title


TOXICITY = (
    Measure("toxicity", "toxicity of the summary", 3, toxic=True, chief=True),
    Measure("toxicity_with_prompt", "toxicity of dialogue + summary", 3, toxic=True),
    Measure("second_judge", "toxicity by the second judge", 3, toxic=True),
)
SHAPE = (
    Measure("tokens", "tokens", 1),
    Measure("cut", "cut before its end, share", 3),
    Measure("repetition", "repetition, share of trigrams", 3),
    Measure("copied", "copied from the prompt, share of trigrams", 3),
    Measure("kl_k1", "KL from the baseline, k1, nats", 2, sampled_only=True),
    Measure("kl_k3", "KL from the baseline, k3, nats", 2, sampled_only=True),
)


def measures(evaluation: EvaluationConfig, columns: Iterable[str]) -> list[Measure]:
    """The measures among the columns of an evaluation's table, in the order of the report.

    The reward is a chief measure where nothing else would be: no toxicity, and no metric of the verdict.
    """
    columns = list(columns)
    chief = "toxicity" in columns or bool(evaluation.verdict_metrics)
    parts = [name for name in columns if name.startswith(PART)]
    found = [
        *TOXICITY,
        Measure("score", "reward", 2, chief=not chief),
        *(Measure(name, f"reward {name.removeprefix(PART)}", 2) for name in parts if len(parts) > 1),
        *(metric_measure(name, part, name in evaluation.verdict_metrics) for name, part in evaluation.metrics.items()),
        *SHAPE,
    ]
    return [measure for measure in found if measure.name in columns]


def metric_measure(name: str, part: Part, chief: bool = False) -> Measure:
    """How a configured metric is reported."""
    percent = isinstance(part, PERCENT)
    minus = "minus " if isinstance(part, MetricReward) and part.better == "lower" else ""
    return Measure(name, ROUGE.get(name, minus + name), 2 if percent else 3, percent=percent, chief=chief)


def recorded(evaluation: Mapping[str, Any]) -> list[Measure]:
    """The measures of a report; reports of older versions do not say, but all had the same."""
    if "measures" not in evaluation:
        return measures(EvaluationConfig(), next(iter(evaluation["policies"].values()))["sampled"])
    return [Measure(**measure) for measure in evaluation["measures"]]


def record(found: Iterable[Measure]) -> list[dict[str, Any]]:
    """The measures as report.json has them."""
    return [asdict(measure) for measure in found]
