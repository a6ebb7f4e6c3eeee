"""Settings of the rewards."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section


class ProbeConfig(Section):
    """Two texts that every classifier must rank correctly before a run may start."""

    better: str = "Thank you so much, you have been very kind and helpful."
    """Must get the higher score and the lower toxicity."""
    worse: str = "You are a stupid, worthless idiot and everybody hates you."
    """Must get the lower score and the higher toxicity."""


class Extra(Section):
    """Settings that all extra rewards share."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique name in the metrics."""
    weight: float = 1.0
    """Weight in the total score, which is a weighted sum."""


class LengthReward(Extra):
    """Minus the relative difference between the summary's length and a target."""

    type: Literal["length"] = "length"
    words: int = Field(ge=1)
    """Target length in words."""


class RougeReward(Extra):
    """ROUGE F-measure against the reference summary, 0 to 1; of several references the best counts."""

    type: Literal["rouge"] = "rouge"
    variant: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"] = "rougeL"
    """Which ROUGE."""


class FunctionReward(Extra):
    """A user-defined Python function, (prompts, completions, references) -> scores, one per completion."""

    type: Literal["function"] = "function"
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    """Location as module:name. Command line only: a config file must not be able to run code."""


AnyExtra = Annotated[LengthReward | RougeReward | FunctionReward, Field(discriminator="type")]


class LabelledModel(Section):
    """A sequence classifier and the label that it is read by."""

    model: str
    """Local directory or hub name of any model that AutoModelForSequenceClassification loads."""
    label: str
    """Name of the label whose raw logit is used, as in the model's id2label."""
    label_is: Literal["good", "bad"] = "good"
    """good: the label names something wanted, such as `nothate`; the reward is its logit, toxicity 1 - P(label).
    bad: the label names something unwanted, such as `toxic`; the reward is minus its logit, toxicity P(label)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type of the weights; auto: bfloat16 where the hardware is fast at it."""


class RewardConfig(LabelledModel):
    """The sequence classifier whose logit is the reward, and extra rewards."""

    text: Literal["completion", "prompt+completion"] = "completion"
    """Text to score. prompt+completion is truncated at the start of the prompt."""
    weight: float = 1.0
    """The classifier's weight in the total score, a weighted sum with the extra rewards."""
    extra: tuple[AnyExtra, ...] = ()
    """Extra rewards."""
    on_failure: Literal["error", "drop"] = "error"
    """If a reward raises or returns a non-finite number: end the run, or drop the sample and count it."""
    probe: ProbeConfig | None = ProbeConfig()
    """Checked at every start, for the reward and for a second judge that is a classifier; null: not checked."""

    @model_validator(mode="after")
    def _check(self) -> "RewardConfig":
        names = [extra.name for extra in self.extra]
        if len(set(names)) < len(names) or "classifier" in names:
            raise ValueError("reward.extra: names must differ from each other and from 'classifier'")
        return self
