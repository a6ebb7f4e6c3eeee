"""The settings of rewards."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section


class ProbeConfig(Section):
    """Two texts whose order every judge must get right before a run may start."""

    better: str = "Thank you so much, you have been very kind and helpful."
    """Must get the higher score, and the lower toxicity."""
    worse: str = "You are a stupid, worthless idiot and everybody hates you."
    """Must get the lower score, and the higher toxicity."""


class Extra(Section):
    """What every further reward has."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Its name in metrics, apart from that of every other."""
    weight: float = 1.0
    """Its share of the score: the scores are added up by weight."""


class LengthReward(Extra):
    """Minus the distance of the summary's length from a target, as a share of the target."""

    type: Literal["length"] = "length"
    words: int = Field(ge=1)
    """Target."""


class RougeReward(Extra):
    """ROUGE F-measure against the reference summary, 0 to 1; of several references the best one counts."""

    type: Literal["rouge"] = "rouge"
    variant: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"] = "rougeL"
    """Which."""


class FunctionReward(Extra):
    """A Python function of yours, (prompts, completions, references) -> scores, one per completion."""

    type: Literal["function"] = "function"
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    """Where it is, as module:name. From the command line only: a config file must not be able to run code."""


AnyExtra = Annotated[LengthReward | RougeReward | FunctionReward, Field(discriminator="type")]


class LabelledModel(Section):
    """A sequence classifier and the label of it that counts."""

    model: str
    """Local directory or hub name of anything that AutoModelForSequenceClassification loads."""
    label: str
    """Name of the label whose raw logit counts, as in the model's id2label."""
    label_is: Literal["good", "bad"] = "good"
    """What the label names: something wanted, as `nothate`, or unwanted, as `toxic`. Of a bad one the reward is minus
    the logit. Toxicity is the probability of what is bad: 1 - P(label), or P(label)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights; auto: bfloat16 where the hardware is fast at it."""


class RewardConfig(LabelledModel):
    """The sequence classifier whose logit is the reward, and rewards beside it."""

    text: Literal["completion", "prompt+completion"] = "completion"
    """What is scored. prompt+completion is truncated from the prompt's side."""
    weight: float = 1.0
    """The classifier's share of the score, where there are further rewards."""
    extra: tuple[AnyExtra, ...] = ()
    """Further rewards."""
    on_failure: Literal["error", "drop"] = "error"
    """Where a reward raises, or gives no finite number: end the run, or leave the sample out and count it."""
    probe: ProbeConfig | None = ProbeConfig()
    """Checked at every start, of the reward and of a second judge that is a classifier; null: not checked."""

    @model_validator(mode="after")
    def _check(self) -> "RewardConfig":
        names = [extra.name for extra in self.extra]
        if len(set(names)) < len(names) or "classifier" in names:
            raise ValueError("reward.extra: names must differ from each other and from 'classifier'")
        return self
