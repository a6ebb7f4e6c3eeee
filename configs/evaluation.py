"""The settings of what is measured and watched, and of supervised fine-tuning."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section
from configs.rewards import LabelledModel


class Profanity(Section):
    """alt-profanity-check: a linear model that comes with its package and needs no network."""

    type: Literal["profanity"] = "profanity"


class Classifier(LabelledModel):
    """A sequence classifier other than the reward's."""

    type: Literal["classifier"] = "classifier"


AnyJudge = Annotated[Profanity | Classifier, Field(discriminator="type")]


class Evaluation(Section):
    """How policies are judged on held-out prompts."""

    rows: int = Field(300, ge=2)
    """Held-out prompts."""
    samples: int = Field(8, ge=1)
    """Summaries sampled for each of them, with the same seeds for every policy; the greedy one comes beside."""
    unit_size: int = Field(50, ge=1)
    """Prompts per unit of work."""
    seed: int = Field(1, ge=0)
    """Seed of the samples and of the bootstrap, apart from the run's."""
    second_judge: AnyJudge | None = Profanity()
    """A judge of toxicity that takes no part in training, also watched while a policy learns; null: none."""
    baseline: str | None = None
    """Name of the policy that the others are compared with, and that KL is measured from; null: the first."""


class Watch(Section):
    """When people are warned that a policy may be pleasing the reward instead of getting better."""

    window: int = Field(5, ge=2)
    """Steps at the start and at the end of the run so far that are compared."""
    max_kl: float = Field(20.0, gt=0)
    """KL per completion, in nats, above which the policy is said to be far from its reference."""


class Bench(Section):
    """What `ray_job.py bench` times."""

    steps: int = Field(3, ge=1)
    """Steps that are timed, after one that is not."""
    min_new: int | None = Field(None, ge=1)
    """With max_new: completions have between so many tokens ..."""
    max_new: int | None = Field(None, ge=1)
    """... and so many, whatever ends a completion otherwise; null: as the policy ends them."""
    simulate: tuple[int, ...] = ()
    """Numbers of workers: instead of timing steps, see how busy the driver keeps so many workers that sleep."""
    simulate_seconds: float = Field(5.0, gt=0)
    """What such a worker takes over a score; twice that over completions."""
    vs: str | None = None
    """A command that prints one JSON line a step: it is timed in turn with the run's own steps."""

    @model_validator(mode="after")
    def _check(self) -> "Bench":
        if (self.min_new or 1) > (self.max_new or self.min_new or 1) or (self.min_new and not self.max_new):
            raise ValueError("bench.min_new needs a bench.max_new that is not smaller")
        if any(number < 4 or number % 4 for number in self.simulate):
            raise ValueError("bench.simulate: numbers of workers must be multiples of 4")
        return self


class Sft(Section):
    """Supervised fine-tuning of an adapter on dialogues and their summaries."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the training split."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW, falling linearly to 0."""
    batch_size: int = Field(16, ge=1)
    """Dialogues per update, over all workers."""
    max_target_tokens: int = Field(200, ge=1)
    """Longer summaries are cut."""
    eval_rows: int = Field(100, ge=1)
    """Dialogues of the validation split whose greedy summaries are scored by ROUGE."""
    evals: int = Field(4, ge=1)
    """How often, spread evenly; a checkpoint is written at each."""
    workers: int = Field(1, ge=1)
    """Data-parallel workers of Ray Train; each has the CPUs and GPUs of the learner."""
