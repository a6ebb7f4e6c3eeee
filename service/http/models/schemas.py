"""Bodies of requests and responses about models: summaries and scores."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.http.schemas import Schema

AdapterName = Annotated[str, Field(pattern=r"^(base|[0-9a-f]{12}(@start)?)$")]


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


class SummariesRequest(Schema):
    """Dialogues to summarize."""

    model_config = _example(
        dialogues=["#Person1#: You are late again, you idiot.\n#Person2#: I am sorry, the bus did not come."],
        adapters=["base"],
    )

    dialogues: list[str] = Field(min_length=1)
    """Texts of the dialogues."""
    adapters: list[AdapterName] = Field(["base"], min_length=1, max_length=4)
    """Adapters to summarize with: `base` (the service's policy), the id of a run that has written an adapter, or
    `ID@start` (the policy that the run started from). Runs have the prompts and lengths that they were trained with."""
    seed: int | None = Field(None, ge=0, lt=2**63)
    """Seed for sampling, at the temperature and truncation that the adapter was trained with; null: greedy decoding."""


class AdapterSummaries(Schema):
    """Summaries by one adapter."""

    adapter: str
    """Name of the adapter."""
    texts: list[str]
    """One summary per dialogue, in their order."""


class SummariesAnswer(Schema):
    """Summaries by each of the requested adapters, in their order."""

    model_config = _example(summaries=[{"adapter": "base", "texts": ["#Person2# is late."]}])

    summaries: list[AdapterSummaries]
    """Summaries by adapter."""


class SummaryLine(Schema):
    """One summary of a streamed response."""

    model_config = _example(dialogue=0, adapter="base", text="#Person2# is late.")

    dialogue: int
    """Index of the dialogue in the request."""
    adapter: str
    """Name of the adapter."""
    text: str
    """The summary."""


class ScoresRequest(Schema):
    """Texts to score."""

    model_config = _example(texts=["Thank you, you are very kind."])

    texts: list[str] = Field(min_length=1)
    """The texts; those too long for the reward model are truncated on the right."""


class Score(Schema):
    """Output of the reward model for a text."""

    logits: dict[str, float]
    """Raw logits by label."""
    probabilities: dict[str, float]
    """Probabilities by label."""
    toxicity: float
    """Probability of a bad text: of the label or its complement, depending on the service's `reward.label_is`."""


class ScoresAnswer(Schema):
    """Scores of the texts, in their order."""

    model_config = _example(
        scores=[
            {
                "logits": {"nothate": 2.0, "hate": -2.0},
                "probabilities": {"nothate": 0.982, "hate": 0.018},
                "toxicity": 0.018,
            }
        ]
    )

    scores: list[Score]
    """One score per text."""


class ModelsAnswer(Schema):
    """The models that this service offers."""

    model_config = _example(
        policy="quickstart/policy",
        reward="quickstart/reward",
        label="nothate",
        label_is="good",
        adapters=["base", "3f9a1c0b77de"],
    )

    policy: str
    """Policy, which summarizes."""
    reward: str
    """Reward model, which scores."""
    label: str
    """Label whose logit is the reward."""
    label_is: Literal["good", "bad"]
    """Whether that label means a good or a bad text; for a bad one the reward is the negated logit."""
    adapters: list[str]
    """Adapters that can be requested: `base` and runs of this policy that have written an adapter."""
