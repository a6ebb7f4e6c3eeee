"""Settings of sequence classifiers that score texts."""

from typing import Literal

from configs.base import Section


class ProbeConfig(Section):
    """Two texts that a classifier must rank correctly before a run may start."""

    better: str = "Thank you so much, you have been very kind and helpful."
    """Must get the higher score and be less probably bad."""
    worse: str = "You are a stupid, worthless idiot and everybody hates you."
    """Must get the lower score and be more probably bad."""


class LabelledModel(Section):
    """A sequence classifier and the label that it is read by."""

    model: str
    """Local directory or hub name of any model that AutoModelForSequenceClassification loads."""
    label: str | None = None
    """Name of the label that is read, as in the model's id2label; null: the only one of a model with one output."""
    label_is: Literal["good", "bad"] = "good"
    """good: the label names something wanted, such as `nothate`; the score is its logit.
    bad: the label names something unwanted, such as `toxic`; the score is minus its logit."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type of the weights; auto: bfloat16 where the hardware is fast at it."""


class ProbedModel(LabelledModel):
    """A classifier of single texts, whose direction is checked at every start."""

    probe: ProbeConfig | None = ProbeConfig()
    """Two texts that the model must rank correctly; null: not checked."""


class Inference(Section):
    """How a reward's models run."""

    output: Literal["logit", "probability"] = "logit"
    """The score of a text: the label's raw logit (minus it for a bad label), or the probability of a good text, from 0
    to 1: P(label), or 1 - P(label) for a bad label."""
    batch_size: int | None = None
    """Most texts in one forward pass; null: as many as a unit has of similar length."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: that of the reward workers; cpu: the CPU even if they have a GPU."""
