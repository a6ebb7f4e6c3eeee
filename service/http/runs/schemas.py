"""What goes in and out over HTTP. The config of a run is not here: its schema is the one of configs/."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.http.runs.store import Record
from service.run.artifacts import artifacts
from service.run.progress import read_status
from service.run.step_log import count_steps
from service.run.supervisor import sizes

RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", examples=["3f9a1c0b77de"])]
AdapterName = Annotated[str, Field(pattern=r"^(base|[0-9a-f]{12})$")]
DIALOGUE = "#Person1#: You are late again, you idiot.\n#Person2#: I am sorry, the bus did not come."
FILES = [{"name": "report.html", "media_type": "text/html", "url": "/runs/3f9a1c0b77de/files/report.html"}]
RUN = {
    "id": "3f9a1c0b77de",
    "state": "running",
    "base": "quickstart",
    "created": "2026-01-31T12:00:00Z",
    "owner": "ann",
    "message": "",
    "step": 12,
    "steps": 45,
    "doing": {"phase": "training", "done": 12, "total": 45, "seconds": 9.5, "seconds_left": 26.1},
    "workers": {"rollout": {"wanted": 2, "ready": 2, "loading": 0, "pending": 0}},
    "request": {"base": "quickstart", "seed": 7},
    "files": FILES,
}
STEP = {"step": 11, "ppo/mean_scores": 1.25, "toxicity/mean": 0.21, "objective/kl": 0.8}
SAME = ("id", "state", "base", "owner", "message", "steps", "request")
"""What a run's record has under the same name."""


class Shape(BaseModel):
    """Strict both ways."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class File(Shape):
    """Something of a run to take away."""

    name: str
    """Its name."""
    media_type: str
    """Its type."""
    url: str
    """Where it is."""


class Doing(Shape):
    """What a run is doing now."""

    phase: str
    """In words, as `training` or `judging after`."""
    done: int
    """How much of it is done, in what the phase counts: steps, or units of held-out prompts."""
    total: int | None
    """How much there is in all; null where nobody knows."""
    seconds: float
    """Since it began."""
    seconds_left: float | None
    """About how long it will take; null where nobody knows."""


class Run(Shape):
    """One run."""

    model_config = ConfigDict(json_schema_extra={"examples": [RUN]})

    id: RunId
    """Its name, made by the service."""
    state: Literal["queued", "pending", "running", "succeeded", "failed", "stopped", "interrupted"]
    """What it is doing."""
    base: str
    """Preset that it is based on."""
    created: datetime
    """When it was asked for."""
    owner: str
    """Name of the key that asked for it."""
    message: str
    """Why it ended early, if it did."""
    step: int
    """Steps that are done."""
    steps: int
    """Steps in all."""
    doing: Doing | None
    """What it is doing now, also before the first step and after the last; null where it is not at work."""
    workers: dict[str, dict[str, int]]
    """Workers by role: wanted, ready, loading, pending."""
    request: dict[str, Any]
    """What was asked for."""
    files: list[File]
    """What there is to take away."""

    @classmethod
    def of(cls, record: Record, folder: Path) -> "Run":
        """As the record and the folder have it."""
        files = [
            File(name=a.name, media_type=a.media_type, url=f"/runs/{record.id}/files/{a.name}")
            for a in artifacts(folder).values()
        ]
        return cls(
            **{name: getattr(record, name) for name in SAME},
            created=datetime.fromtimestamp(record.created, UTC),
            step=count_steps(folder),
            doing=read_status(folder) if record.state == "running" else None,
            workers=sizes(folder),
            files=files,
        )


Number = Annotated[int, Field(ge=1, le=1024)]


class WorkerNumbers(Shape):
    """Workers from now on, by role; at least one role."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reward": 4}], "minProperties": 1})

    rollout: Number | None = None
    """Rollout workers."""
    reward: Number | None = None
    """Replicas of the reward model."""
    reference: Number | None = None
    """Workers with the reference."""
    learner: Number | None = None
    """Learners."""


class SummariesRequest(Shape):
    """Dialogues to be summarized."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dialogues": [DIALOGUE], "adapters": ["base"]}]})

    dialogues: list[str] = Field(min_length=1)
    """The dialogues, each a text."""
    adapters: list[AdapterName] = Field(["base"], min_length=1, max_length=4)
    """Whose summaries: base is the model before training, else the id of a run that has come to its adapter."""
    seed: int | None = Field(None, ge=0, lt=2**63)
    """Seed of sampled summaries; null: the likeliest tokens."""


class Summaries(Shape):
    """Summaries by one adapter."""

    adapter: str
    """Whose."""
    texts: list[str]
    """One for each dialogue, in their order."""


class SummariesAnswer(Shape):
    """Summaries by each of the adapters that were asked for, in their order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"summaries": [{"adapter": "base", "texts": ["#Person2# is late."]}]}]}
    )

    summaries: list[Summaries]
    """Adapter by adapter."""


class SummaryLine(Shape):
    """One summary of several, as soon as it is made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dialogue": 0, "adapter": "base", "text": "#Person2# is late."}]}
    )

    dialogue: int
    """Place of the dialogue among those that were sent."""
    adapter: str
    """Whose summary it is."""
    text: str
    """The summary."""


class ScoresRequest(Shape):
    """Texts to be scored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["Thank you, you are very kind."]}]})

    texts: list[str] = Field(min_length=1)
    """The texts; what is too long for the reward model is cut on the right."""


SCORE = {
    "logits": {"nothate": 2.0, "hate": -2.0},
    "probabilities": {"nothate": 0.982, "hate": 0.018},
    "toxicity": 0.018,
}


class Score(Shape):
    """What the reward model says of a text."""

    logits: dict[str, float]
    """Raw logits by the name of the label."""
    probabilities: dict[str, float]
    """The same as probabilities."""
    toxicity: float
    """Probability of what is bad: of the label, or of its opposite, as the service's `reward.label_is` says."""


class ScoresAnswer(Shape):
    """A score for each text, in their order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scores": [SCORE]}]})

    scores: list[Score]
    """The scores."""


class ModelsAnswer(Shape):
    """What answers here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "policy": "quickstart/policy",
                    "reward": "quickstart/reward",
                    "label": "nothate",
                    "label_is": "good",
                    "adapters": ["base", "3f9a1c0b77de"],
                }
            ]
        }
    )

    policy: str
    """Model that summarizes."""
    reward: str
    """Model that scores."""
    label: str
    """Label whose logit counts."""
    label_is: Literal["good", "bad"]
    """What that label names: of a bad one, minus the logit is the reward."""
    adapters: list[str]
    """Whose summaries can be asked for: base, and runs of this policy that have come to their adapters."""


class PresetAnswer(Shape):
    """A preset that runs may be based on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "quickstart", "settings": {"steps": 45, "seed": 0}}]}
    )

    name: str
    """What `base` names."""
    settings: dict[str, Any]
    """All its settings."""
