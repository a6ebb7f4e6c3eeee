"""Settings of evaluation and of reward-hacking warnings."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from configs.base import Section
from configs.classifiers import LabelledModel, ProbedModel
from configs.decoding import AnyDecoding, Greedy
from configs.reward_parts import Part, RougeReward
from configs.rewards import AnyPart, PartName, models_of, without_null


class ProfanityJudge(Section):
    """alt-profanity-check: a linear model shipped with its package, so that it needs no network."""

    type: Literal["profanity"] = "profanity"


class ClassifierJudge(ProbedModel):
    """A sequence classifier other than the reward model."""

    type: Literal["classifier"] = "classifier"


OF_REWARDS = (*Part.model_fields, "toxicity", "force")
"""Settings of a part that mean nothing in an evaluation, where failures count as unknown."""
RESERVED = ("row", "text", "tokens", "cut", "repetition", "copied", "score", "toxicity", "toxicity_with_prompt",
            "second_judge", "commonest", "policy", "decoding", "sample", "distinct", "dropped", "unknown")  # fmt: skip
"""Names that an evaluation's columns and figures have already."""
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
    metrics: dict[PartName, AnyPart] = Field(
        {name: RougeReward(variant=name) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")}
    )
    """What summaries are measured by besides the reward, by name: the same kinds as `reward.parts`."""
    verdict: tuple[PartName, ...] | None = None
    """Metrics that the verdict names and training watches; null: rougeL if it is measured, else all."""
    second_judge: AnyJudge | None = None
    """Toxicity judge that takes no part in training but is also watched during it; null: none."""
    baseline: str | None = None
    """Name of the policy that the others are compared with and their KL is measured from; null: the first."""

    _without_null = field_validator("metrics", mode="before")(without_null)

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, metrics: dict[str, Part]) -> dict[str, Part]:
        problems = [
            ((name,), "every evaluation has this measure; choose another name") for name in RESERVED if name in metrics
        ]
        for name, part in metrics.items():
            fields = {setting: field for setting, field in type(part).model_fields.items() if setting in OF_REWARDS}
            changed = [setting for setting, field in fields.items() if getattr(part, setting) != field.default]
            problems += [((name, setting), "is a setting of rewards; leave it out") for setting in changed]
        if problems:
            details = [
                InitErrorDetails(type=PydanticCustomError("metric", text), loc=loc, input={}) for loc, text in problems
            ]
            raise ValidationError.from_exception_data(cls.__name__, details)
        return metrics

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        if unknown := set(self.verdict or ()) - set(self.metrics):
            raise ValueError(f"verdict: no metric is called {', '.join(sorted(unknown))}")
        return self

    @property
    def verdict_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the verdict names and training watches."""
        if self.verdict is not None:
            return self.verdict
        return ("rougeL",) if "rougeL" in self.metrics else tuple(self.metrics)

    def models(self) -> Iterator[tuple[str, LabelledModel]]:
        """Each classifier of metrics and second judge with the dotted name of its section."""
        yield from models_of("evaluation.metrics", self.metrics)
        if isinstance(self.second_judge, ClassifierJudge):
            yield "evaluation.second_judge", self.second_judge


class WatchConfig(Section):
    """Warnings that a policy may be exploiting the reward instead of improving."""

    window: int = Field(5, ge=2)
    """Number of steps at the start and at the end of the run so far that are compared."""
    max_kl: float = Field(20.0, gt=0)
    """KL per completion, in nats, above which a warning reports that the policy is far from its reference."""
