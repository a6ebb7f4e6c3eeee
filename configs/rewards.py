"""Settings of the rewards: named parts, and how they are combined."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.base import Section
from configs.classifiers import LabelledModel
from configs.reward_parts import (
    BleuReward,
    ChrfReward,
    ClassifierReward,
    EnsembleReward,
    ExactReward,
    FunctionReward,
    HttpReward,
    LengthReward,
    MetricReward,
    PairReward,
    RegexReward,
    RougeReward,
)

PartName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
AnyPart = Annotated[
    ClassifierReward
    | EnsembleReward
    | PairReward
    | HttpReward
    | RougeReward
    | ChrfReward
    | BleuReward
    | ExactReward
    | LengthReward
    | RegexReward
    | FunctionReward
    | MetricReward,
    Field(discriminator="type"),
]
CODE_PARTS = {"function": "function", "metric": "metric"}
"""Types of parts that run code -> the setting that names it."""


class RewardConfig(Section):
    """What completions are rewarded for."""

    parts: dict[PartName, AnyPart]
    """The parts by name, under which each is reported; null leaves out a preset's part."""
    combine: Literal["sum", "min", "product"] = "sum"
    """How the parts make the total: their weighted sum, the lowest weighted score, or the product of these."""

    @field_validator("parts", mode="before")
    @classmethod
    def _without_null(cls, parts: Any) -> Any:
        given = isinstance(parts, dict)
        return {name: part for name, part in parts.items() if part is not None} if given else parts

    @model_validator(mode="after")
    def _check(self) -> "RewardConfig":
        if not self.parts:
            raise ValueError("parts: there is none; name one, such as --reward.parts.short.type length")
        toxic = [name for name, part in self.parts.items() if getattr(part, "toxicity", False)]
        if len(toxic) > 1:
            raise ValueError(f"parts: only one can measure toxicity, not {', '.join(toxic)}; set toxicity false")
        return self

    @property
    def toxicity(self) -> str | None:
        """Name of the part that measures toxicity."""
        return next((name for name, part in self.parts.items() if getattr(part, "toxicity", False)), None)

    def models(self) -> Iterator[tuple[str, LabelledModel]]:
        """Each classifier with the dotted name of its section."""
        for name, part in self.parts.items():
            if isinstance(part, LabelledModel):
                yield f"reward.parts.{name}", part
            elif isinstance(part, EnsembleReward):
                yield from ((f"reward.parts.{name}.members.{i}", member) for i, member in enumerate(part.members))
