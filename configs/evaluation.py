"""Settings of evaluation and of reward-hacking warnings."""

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Section
from configs.classifiers import ProbedModel
from configs.decoding import AnyDecoding, Greedy


class ProfanityJudge(Section):
    """alt-profanity-check: a linear model shipped with its package, so that it needs no network."""

    type: Literal["profanity"] = "profanity"


class ClassifierJudge(ProbedModel):
    """A sequence classifier other than the reward model."""

    type: Literal["classifier"] = "classifier"


AnyJudge = Annotated[ProfanityJudge | ClassifierJudge, Field(discriminator="type")]


class EvaluationConfig(Section):
    """Evaluation of policies on held-out prompts."""

    rows: int = Field(300, ge=2)
    """Number of held-out prompts."""
    samples: int = Field(8, ge=1)
    """Summaries sampled per prompt as in training (`rollout.temperature` and truncation), with the same seeds for
    every policy, besides one by `decoding`."""
    decoding: AnyDecoding = Greedy()
    """How one more summary per prompt is found: without chance, as a summary in use might be."""
    unit_size: int = Field(50, ge=1)
    """Prompts per unit of work."""
    seed: int = Field(1, ge=0)
    """Seed of the samples and of the bootstrap, independent of the run's seed."""
    second_judge: AnyJudge | None = ProfanityJudge()
    """Toxicity judge that takes no part in training but is also watched during it; null: none."""
    baseline: str | None = None
    """Name of the policy that the others are compared with and their KL is measured from; null: the first."""


class WatchConfig(Section):
    """Warnings that a policy may be exploiting the reward instead of improving."""

    window: int = Field(5, ge=2)
    """Number of steps at the start and at the end of the run so far that are compared."""
    max_kl: float = Field(20.0, gt=0)
    """KL per completion, in nats, above which a warning reports that the policy is far from its reference."""
