"""Settings of evaluation and of the warnings of reward hacking."""

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Section
from configs.rewards import LabelledModel


class ProfanityJudge(Section):
    """alt-profanity-check: a linear model that comes with its package and needs no network."""

    type: Literal["profanity"] = "profanity"


class ClassifierJudge(LabelledModel):
    """A sequence classifier other than the reward's."""

    type: Literal["classifier"] = "classifier"


AnyJudge = Annotated[ProfanityJudge | ClassifierJudge, Field(discriminator="type")]


class EvaluationConfig(Section):
    """How policies are judged on held-out prompts."""

    rows: int = Field(300, ge=2)
    """Held-out prompts."""
    samples: int = Field(8, ge=1)
    """Summaries sampled for each of them, with the same seeds for every policy; the greedy one comes beside."""
    unit_size: int = Field(50, ge=1)
    """Prompts per unit of work."""
    seed: int = Field(1, ge=0)
    """Seed of the samples and of the bootstrap, apart from the run's."""
    second_judge: AnyJudge | None = ProfanityJudge()
    """A judge of toxicity that takes no part in training, also watched while a policy learns; null: none."""
    baseline: str | None = None
    """Name of the policy that the others are compared with, and that KL is measured from; null: the first."""


class WatchConfig(Section):
    """When people are warned that a policy may be pleasing the reward instead of getting better."""

    window: int = Field(5, ge=2)
    """Steps at the start and at the end of the run so far that are compared."""
    max_kl: float = Field(20.0, gt=0)
    """KL per completion, in nats, above which the policy is said to be far from its reference."""
