"""Bodies of requests and responses about the reward of a run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from configs.errors import RunError
from service.http.schemas import Schema
from service.run.reward_changes import newest_refusal, read_changes, waiting


class RewardStatus(Schema):
    """The reward of a run, and requests to change it."""

    version: int
    """Version of the reward: 0 as the run started, one more for each change."""
    since: int
    """Step from which this version scores."""
    waiting: int
    """Requests that the run has not answered yet."""
    refused: list[str]
    """Why the newest request was refused; empty otherwise."""

    @classmethod
    def of(cls, folder: Path) -> "RewardStatus | None":
        """The status in the folder of a run; None if it cannot be read."""
        try:
            newest = (read_changes(folder) or [{"version": 0, "step": 0}])[-1]
            refused, count = newest_refusal(folder), len(waiting(folder))
            return cls(version=newest["version"], since=newest["step"], waiting=count, refused=refused)
        except (RunError, OSError, ValueError, KeyError, TypeError):
            return None


class RewardSettings(Schema):
    """New settings of a part of the reward; those left out stay. A new model is brought to the scale of the old one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"weight": 0.5}], "minProperties": 1})

    part: str | None = None
    """Name of the part; default: the only classifier."""
    model: str | None = None
    """Model to use from then on: one that a preset or `serve.reward_models` names."""
    label: str | None = None
    """Label that is read; of a model with one output that one, if left out."""
    label_is: Literal["good", "bad"] | None = None
    """Whether the label names something good or bad."""
    weight: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    """Factor of the part in the total."""
    at_step: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Step that it begins with, from 0; default: the next one that begins."""
