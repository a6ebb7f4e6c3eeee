"""Settings of a campaign, in which people compare completions: `POST /campaigns`."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from configs.base import Section

REFERENCE = "reference"
"""Stands for the data's own references, in place of a policy."""
PolicyName = Annotated[str, Field(pattern=r"^(base|reference|[0-9a-f]{12}(@start|@\d{1,6})?)$")]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]
EXAMPLE = {
    "name": "March",
    "policies": ["base", "reference"],
    "pairs": 12,
    "criteria": ["readability", "faithfulness"],
    "qualification": [
        {"prompt": "#Person1#: The bus is late.", "first": "The bus is late.", "second": "bus bus", "expected": "first"}
    ],
}


class KnownAnswer(Section):
    """A comparison whose answer is known, to tell whether annotators read what they judge."""

    prompt: Text
    """The dialogue."""
    first: Text
    """A summary."""
    second: Text
    """Another one."""
    expected: Literal["first", "tie", "second"]
    """Which of them is better."""


class CampaignConfig(Section):
    """What people are asked to compare, and how often."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str = Field(min_length=1, max_length=200)
    """What annotators see it as."""
    policies: tuple[PolicyName, ...] = Field(min_length=1, max_length=8)
    """Whose summaries are compared: ids of runs, `ID@12` (after 12 steps), `ID@start`, `base` (the service's policy),
    `reference` (the data's). Of a single one, two samples are compared."""
    split: str = Field("validation", min_length=1, max_length=200)
    """Split of the service's data whose dialogues are summarized, or a part of one, such as train[:10%]."""
    pairs: int = Field(100, ge=1, le=10_000)
    """Number of pairs."""
    evaluation: float = Field(0.2, ge=0, le=1)
    """Share of the pairs that are kept for evaluation; always drawn at random, from dialogues of their own."""
    answers_per_pair: int = Field(1, ge=1, le=20)
    """Number of people who compare each pair."""
    repeats: float = Field(0.1, ge=0, le=0.5)
    """Share of a person's pairs that the person gets a second time, some questions later."""
    qualification: tuple[KnownAnswer, ...] = Field((), max_length=100)
    """Comparisons with known answers. Every person gets each of them once, among the others."""
    criteria: tuple[Literal["readability", "coherence", "faithfulness", "harm"], ...] = ()
    """What people may also compare the summaries by."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the pairs, the summaries, the order and the sides."""

    @field_validator("policies", "criteria")
    @classmethod
    def _check_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names something twice")
        return names

    @model_validator(mode="after")
    def _check_policies(self) -> "CampaignConfig":
        if self.policies == (REFERENCE,):
            raise ValueError("policies: a reference can be compared with a policy only; name one more")
        return self
