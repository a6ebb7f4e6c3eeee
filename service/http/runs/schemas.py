"""Bodies of requests and responses about runs. A run's config is not here: configs/ defines its schema."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.http.root_path import outside
from service.http.runs.reward_schemas import RewardStatus
from service.http.runs.store import RunRecord
from service.http.schemas import Schema
from service.run.artifacts import artifacts
from service.run.progress import read_status
from service.run.step_log import STEPS, count_steps, is_damaged
from service.run.supervisor import read_sizes

RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", examples=["3f9a1c0b77de"])]
WorkerCount = Annotated[int, Field(ge=1, le=1024)]
RUN_EXAMPLE = {
    "id": "3f9a1c0b77de",
    "state": "running",
    "base": "quickstart",
    "created": "2026-01-31T12:00:00Z",
    "owner": "ann",
    "message": "",
    "step": 12,
    "steps": 45,
    "doing": {"phase": "training", "done": 12, "total": 45, "seconds": 9.5, "seconds_left": 26.1},
    "reward": {"version": 0, "since": 0, "waiting": 0, "refused": []},
    "workers": {"rollout": {"wanted": 2, "ready": 2, "loading": 0, "pending": 0}},
    "request": {"base": "quickstart", "seed": 7},
    "files": [{"name": "report.html", "media_type": "text/html", "url": "/runs/3f9a1c0b77de/files/report.html"}],
}
CURSOR_EXAMPLE = "1769860800.123456-3f9a1c0b77de"
STEP_EXAMPLE = {"step": 11, "reward/mean": 1.25, "watch/toxicity": 0.21, "objective/kl": 0.8}
FROM_RECORD = ("id", "state", "base", "owner", "message", "steps", "request")
"""Fields that a run's record has under the same names."""


class RunState(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class File(Schema):
    """A file of a run."""

    name: str
    """Name of the file."""
    media_type: str
    """Media type."""
    url: str
    """Path to download it from."""


class Activity(Schema):
    """What a run is doing now."""

    phase: str
    """Name of the phase, such as `training` or `evaluating after`."""
    done: int
    """Units of the phase that are done: steps, or units of held-out prompts."""
    total: int | None
    """Units in total; null if unknown."""
    seconds: float
    """Seconds since the phase started."""
    seconds_left: float | None
    """Estimated seconds until it ends; null if unknown."""


class Run(Schema):
    """A run."""

    model_config = ConfigDict(json_schema_extra={"examples": [RUN_EXAMPLE]})

    id: RunId
    """Id, assigned by the service."""
    state: RunState
    """State."""
    base: str
    """Preset that the run is based on."""
    created: datetime
    """Time of the request."""
    owner: str
    """Name of the key that submitted it."""
    message: str
    """Why it ended early or has not started yet; otherwise empty."""
    step: int
    """Steps done."""
    steps: int
    """Steps in total."""
    doing: Activity | None
    """Current phase, also before the first and after the last step; null unless the run is running."""
    reward: RewardStatus | None
    """Version of the reward, and requests to change it; null if the run's record of changes is damaged."""
    workers: dict[str, dict[str, int]]
    """Workers by role: wanted, ready, loading, pending; empty once it has ended."""
    request: dict[str, Any]
    """The request that submitted it."""
    files: list[File]
    """Files that can be downloaded."""

    @classmethod
    def of(cls, record: RunRecord, folder: Path) -> "Run":
        """The run of a record, with the current state of its folder."""
        files = [
            File(name=a.name, media_type=a.media_type, url=outside(f"/runs/{record.id}/files/{a.name}"))
            for a in artifacts(folder).values()
        ]
        values = {name: getattr(record, name) for name in FROM_RECORD}
        if is_damaged(folder):
            values["message"] = "; ".join([*filter(None, [record.message]), f"the last line of {STEPS} is unreadable"])
        return cls(
            **values,
            created=datetime.fromtimestamp(record.created, UTC),
            step=count_steps(folder),
            doing=_valid(ACTIVITY, read_status(folder)) if record.state == "running" else None,
            reward=RewardStatus.of(folder),
            workers={} if record.ended else _valid(WORKERS, read_sizes(folder)) or {},
            files=files,
        )


ACTIVITY, WORKERS = TypeAdapter(Activity | None), TypeAdapter(dict[str, dict[str, int]])


def _valid(kind: TypeAdapter, value: Any) -> Any:
    """The value read from a file of the run; None if the file holds something else."""
    try:
        return kind.validate_python(value)
    except ValidationError:
        return None


class RunList(Schema):
    """A page of the list of runs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"runs": [RUN_EXAMPLE], "total": 212, "next": CURSOR_EXAMPLE}]}
    )

    runs: list[Run]
    """Runs, newest first."""
    total: int
    """Number of runs on all pages."""
    next: str | None
    """The `cursor` of the next page; null on the last one."""


class Step(Schema):
    """The metrics of a step, by name; null where a metric is not a number."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [STEP_EXAMPLE]})

    step: int
    """Number of the step, from 0."""


class StepList(Schema):
    """A page of the list of a run's steps."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"steps": [STEP_EXAMPLE], "total": 45, "next": 11}]})

    steps: list[Step]
    """Steps, in their order."""
    total: int
    """Number of steps that the run has done."""
    next: int | None
    """What to send as `after` for the next page; null on the last one."""


class WorkerNumbers(Schema):
    """New numbers of workers by role; at least one role."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reward": 4}], "minProperties": 1})

    rollout: WorkerCount | None = None
    """Rollout workers."""
    reward: WorkerCount | None = None
    """Reward workers."""
    reference: WorkerCount | None = None
    """Reference workers."""
    learner: WorkerCount | None = None
    """Learners."""


class PresetAnswer(Schema):
    """A preset that runs can be based on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "quickstart", "settings": {"steps": 45, "seed": 0}}]}
    )

    name: str
    """Name, for `base`."""
    settings: dict[str, Any]
    """All its settings."""
