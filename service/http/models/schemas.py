"""Bodies of requests and responses about models: summaries and scores."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

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


class ScoredItem(Schema):
    """A completion to score, with what parts of the reward may compare it with."""

    completion: str
    """The text; what is too long for a classifier is truncated."""
    prompt: str = ""
    """Text that the policy was given."""
    references: tuple[str, ...] = ()
    """Texts that it could have written."""
    row: dict[str, Any] = Field(default_factory=dict)
    """Columns of the data."""


class ScoresRequest(Schema):
    """What to score: either `texts` or `items`."""

    model_config = _example(texts=["Thank you, you are very kind."])

    texts: tuple[str, ...] = ()
    """Completions alone."""
    items: tuple[ScoredItem, ...] = ()
    """Completions with their prompts, references and columns."""

    @model_validator(mode="after")
    def _check(self) -> "ScoresRequest":
        if bool(self.texts) == bool(self.items):
            raise ValueError("give either texts or items, at least one of them")
        return self


class LabelScores(Schema):
    """A classifier's output for a text."""

    logits: dict[str, float]
    """Raw logits by label."""
    probabilities: dict[str, float]
    """Probabilities by label."""


class Score(Schema):
    """What the reward says of a completion."""

    total: float | None
    """The reward; null if a part failed."""
    rewards: dict[str, float | None]
    """Raw score of each part by name; null if it failed."""
    classifiers: dict[str, list[LabelScores]]
    """Outputs of each part that is a classifier of single texts, or of each member of an ensemble."""
    toxicity: float | None
    """Probability of a toxic text by the part that measures toxicity; null if none does."""


class ScoresAnswer(Schema):
    """Scores of the texts, in their order."""

    model_config = _example(
        scores=[
            {
                "total": 2.0,
                "rewards": {"classifier": 2.0},
                "classifiers": {
                    "classifier": [
                        {"logits": {"nothate": 2.0, "hate": -2.0}, "probabilities": {"nothate": 0.982, "hate": 0.018}}
                    ]
                },
                "toxicity": 0.018,
            }
        ]
    )

    scores: list[Score]
    """One score per text."""


class OfferedReward(Schema):
    """A part of the reward."""

    type: str
    """Its kind."""
    models: list[str]
    """Its classifiers, if any."""
    label: str | None
    """Label that a classifier is read by."""
    label_is: Literal["good", "bad"] | None
    """Whether that label means a good or a bad text."""


class ModelsAnswer(Schema):
    """The models that this service offers."""

    model_config = _example(
        policy="quickstart/policy",
        rewards={
            "classifier": {
                "type": "classifier",
                "models": ["quickstart/reward"],
                "label": "nothate",
                "label_is": "good",
            }
        },
        adapters=["base", "3f9a1c0b77de"],
    )

    policy: str
    """Policy, which summarizes."""
    rewards: dict[str, OfferedReward]
    """Parts of the reward, which scores, by name."""
    adapters: list[str]
    """Adapters that can be requested: `base` and runs of this policy that have written an adapter."""
