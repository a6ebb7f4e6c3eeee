"""Settings of each kind of reward."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from configs.base import Section
from configs.classifiers import Inference, LabelledModel, ProbedModel


class Standardise(Section):
    """(score - mean) / std, by numbers known before the run: a score must not depend on what else is in its batch."""

    mean: float = 0.0
    """Subtracted first."""
    std: float = Field(1.0, gt=0)
    """Divided by."""


class Part(Section):
    """Settings that all parts share."""

    weight: float = 1.0
    """Factor of the part in the total, after `standardise` and `clip`; 0: measured, but no part of the total."""
    standardise: Standardise | None = None
    """Shift and scale of the raw score; null: none."""
    clip: tuple[float, float] | None = None
    """Lowest and highest score, after `standardise`; null: unlimited."""
    gate: float | None = None
    """If set, the part adds nothing: the total is 0 for completions whose raw score is lower."""
    on_failure: Literal["error", "drop", "skip"] = "error"
    """If the part fails for a completion or gives no finite number: end the run; drop the completion and count it; or
    skip the part in this completion's total."""

    @property
    def reads_references(self) -> bool:
        """True if there is no score without a reference."""
        return False

    @model_validator(mode="after")
    def _check_part(self) -> "Part":
        if self.gate is not None and (self.weight != 1 or self.standardise or self.clip or self.on_failure == "skip"):
            raise ValueError("a part with a gate adds nothing: it takes no weight, standardise or clip, nor is skipped")
        if self.clip and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip: the lowest score must be below the highest, not {list(self.clip)}")
        return self


class TextReward(Inference):
    """What classifiers of single texts share."""

    text: Literal["completion", "prompt+completion"] = "completion"
    """Text to score. prompt+completion is truncated at the start of the prompt."""
    toxicity: bool = False
    """The label tells toxic texts from others: report the probability of a bad text as toxicity. For one part only."""
    force: bool = False
    """Use models of `train-reward` even if their accuracy on held-out pairs is below `reward_training.min_accuracy`."""


class ClassifierReward(Part, ProbedModel, TextReward):
    """The output of a sequence classifier for a label."""

    type: Literal["classifier"] = "classifier"


class EnsembleReward(Part, TextReward):
    """Mean of several classifiers' outputs minus their standard deviation, so that one of them alone is not convinced
    easily."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[ProbedModel, ...] = Field(min_length=2)
    """The classifiers, whose outputs should be on one scale."""
    std_coef: float = Field(1.0, ge=0)
    """Factor of the standard deviation (that of a population)."""


class PairReward(Part, LabelledModel, Inference):
    """The output of a classifier that reads two texts: entailment of a completion by its source, quality of a
    translation."""

    type: Literal["pair"] = "pair"
    source: str = "prompt"
    """First text: `prompt`, `reference` (of several the best counts), or a column of the data, such as `dialogue`. The
    second is the completion."""
    windows: Literal["max", "mean"] = "max"
    """A source too long for the model is read in overlapping windows; the score is their highest or their mean."""

    @property
    def reads_references(self) -> bool:
        """True if `source` is the reference."""
        return self.source == "reference"


class HttpReward(Part):
    """Scores by a server that speaks the JSON of `POST /scores`, such as another service of this project."""

    type: Literal["http"] = "http"
    url: str = Field(pattern=r"^https?://[^\s@]+$")
    """Address, such as http://10.0.0.5:8000/scores."""
    reward: str | None = None
    """Name of the server's reward; null: its total."""
    columns: tuple[str, ...] = ()
    """Columns of the data that are sent along."""
    key_env: str | None = Field(None, pattern=r"^\w+$")
    """Environment variable with the key to send, set wherever reward workers run; the key itself is no setting."""
    batch_size: int = Field(16, ge=1)
    """Completions per request."""
    concurrency: int = Field(4, ge=1)
    """Requests of one reward worker at a time."""
    timeout: float = Field(30, gt=0)
    """Seconds for one request."""
    retries: int = Field(3, ge=0)
    """Further tries of a request that times out, cannot connect, or is answered by 408, 429 or 5xx, each after a longer
    wait."""


class AgainstReferences(Part):
    """Settings of a part that compares completions with references."""

    @property
    def reads_references(self) -> bool:
        """True: there is no score without a reference."""
        return True


class RougeReward(AgainstReferences):
    """ROUGE F-measure against the reference, 0 to 1; of several references the best counts."""

    type: Literal["rouge"] = "rouge"
    variant: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"] = "rougeL"
    """Which ROUGE."""


class ChrfReward(AgainstReferences):
    """chrF against the references by sacrebleu, 0 to 1."""

    type: Literal["chrf"] = "chrf"
    word_order: int = Field(0, ge=0)
    """Length of word n-grams that count, too; 2: chrF++."""


class BleuReward(AgainstReferences):
    """Sentence BLEU against the references by sacrebleu, 0 to 1."""

    type: Literal["bleu"] = "bleu"
    tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    """sacrebleu's tokenizer."""


class ExactReward(AgainstReferences):
    """1 if the completion is one of the references, else 0; whitespace at both ends does not count."""

    type: Literal["exact"] = "exact"
    ignore_case: bool = False
    """Compare without case."""


class LengthReward(Part):
    """Minus the relative difference between the completion's length and a target."""

    type: Literal["length"] = "length"
    words: int = Field(ge=1)
    """Target length in words."""


class RegexReward(Part):
    """1 if a regular expression matches somewhere in the completion, else 0."""

    type: Literal["regex"] = "regex"
    pattern: str
    """Expression of Python's re; ^ and $ match at the ends of the completion."""
    absent: bool = False
    """1 if it does not match."""

    @field_validator("pattern")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class FunctionReward(Part):
    """A Python function, called as trl's GRPOTrainer calls its own: prompts, completions and the columns by name."""

    type: Literal["function"] = "function"
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    """Location as module:name. Command line only: a config file must not be able to run code."""


class MetricReward(Part):
    """A metric of `evaluate`, computed for each completion; of several references the best counts if it takes one."""

    type: Literal["metric"] = "metric"
    metric: str
    """Folder or hub name of the metric. Command line only: it is code."""
    score: str
    """Which number of its results, such as `f1`."""
    better: Literal["higher", "lower"] = "higher"
    """lower: the score is minus the number."""
    source: str = "prompt"
    """For a metric that takes `sources`: `prompt` or a column of the data."""
