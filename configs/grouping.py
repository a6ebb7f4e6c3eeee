"""Settings for grouping prompts."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section


class ByColumn(Section):
    """One group per value of a data column."""

    type: Literal["column"] = "column"
    column: str = "topic"
    """Name of the column."""


class ByPromptLength(Section):
    """Groups of prompts of similar length."""

    type: Literal["prompt_length"] = "prompt_length"
    bounds: tuple[int, ...] = Field((100, 200), min_length=1)
    """Token counts at which a new group starts, in increasing order."""

    @model_validator(mode="after")
    def _check(self) -> "ByPromptLength":
        if list(self.bounds) != sorted(set(self.bounds)) or self.bounds[0] < 1:
            raise ValueError("bounds must be positive and increasing")
        return self


GroupBy = Annotated[ByColumn | ByPromptLength, Field(discriminator="type")]
