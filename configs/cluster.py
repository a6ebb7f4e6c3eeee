"""The settings of workers and where they run."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from configs.base import Section


def _told_as(message: str) -> WrapValidator:
    """One message for a value that is none of several types, where pydantic would give one for each type."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            details = error.errors()
            own = [d["msg"].removeprefix("Value error, ") for d in details if d["type"] == "value_error"]
            raise ValueError(own[0] if own else message) from error

    return WrapValidator(check)


def span(count: int | str) -> tuple[int, int]:
    """Fewest and most workers that a number, or a span such as 1-4, stands for."""
    fewest, most = str(count).split("-") if "-" in str(count) else (count, count)
    return int(fewest), int(most)


def _rising(count: int | str) -> int | str:
    if count != "auto" and span(count)[0] > span(count)[1]:
        raise ValueError(f"the fewest workers of {count} are more than the most")
    return count


Count = Annotated[
    Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^(auto|[1-9]\d*-[1-9]\d*)$")],
    AfterValidator(_rising),
    _told_as("must be a number from 1 on, a span such as 1-4, or auto"),
]
Amount = Annotated[
    Annotated[float, Field(ge=0)] | Literal["auto"], _told_as("must be auto or a number, which may be a fraction")
]


class WorkersConfig(Section):
    """Workers per role."""

    rollout: Count = 2
    """Workers that sample completions: a number, auto, or a span such as 1-4 in which it follows the work."""
    reward: Count = 2
    """Replicas of the reward model: a number, auto, or a span."""
    reference: Count = 1
    """Workers with the frozen reference: a number, auto, or a span."""
    learner: int = Field(1, ge=1)
    """Workers that compute gradients. Several share out the microbatches of each minibatch, so that there must be
    several of these (`algorithm.microbatch_size`); the result is the same to the bit."""


class ResourcesConfig(Section):
    """What a worker of a role gets."""

    cpus: Amount = "auto"
    """CPUs that Ray sets aside, or a fraction of one; auto: as many as threads, less where there are too few."""
    gpus: Amount = "auto"
    """GPUs, or a fraction of one; auto: shared out among the roles where there are any."""
    threads: int = Field(1, ge=1)
    """Torch threads; it changes the bits."""


class RoleResourcesConfig(Section):
    """Resources per role."""

    rollout: ResourcesConfig = ResourcesConfig()
    """Of each rollout worker."""
    reward: ResourcesConfig = ResourcesConfig()
    """Of each reward worker."""
    reference: ResourcesConfig = ResourcesConfig()
    """Of each reference worker."""
    learner: ResourcesConfig = ResourcesConfig()
    """Of the learner."""

    @model_validator(mode="after")
    def _check(self) -> "RoleResourcesConfig":
        gpus = [getattr(self, role).gpus for role in ("rollout", "reference", "learner")]
        if len({"auto" if amount == "auto" else amount > 0 for amount in gpus}) > 1:
            raise ValueError(
                "gpus: rollout, reference and learner must all be auto, all have GPUs or all have none, "
                "to compute the same numbers"
            )
        return self


class ClusterConfig(Section):
    """Where the workers run."""

    backend: Literal["ray", "inline"] = "ray"
    """ray: each worker is a Ray actor; inline: everything in this process, with the same result to the bit."""
    address: str | None = None
    """Ray address; null: RAY_ADDRESS or a running local head if there is one, else a Ray of its own."""
    resources: RoleResourcesConfig = RoleResourcesConfig()
    """What each worker gets."""
    start_timeout: float = Field(300, gt=0)
    """Seconds that a worker may take to find a place and to load its models."""
    call_timeout: float = Field(600, gt=0)
    """Seconds that a worker may take over one unit before it is taken for hung and replaced."""
    update_timeout: float = Field(3600, gt=0)
    """The same for a learner and one step, or where several share it, their part of it."""
    grow_after: float = Field(5, ge=0)
    """Where workers are given as a span: seconds that a unit waits for a worker before another one is started."""
    shrink_after: float = Field(120, gt=0)
    """Where they are given as a span: seconds without work after which a worker is let go."""
    attempts: int = Field(4, ge=1)
    """Workers that may die over one unit, or in a row while they start, before the run ends."""


class CheckpointsConfig(Section):
    """What is kept so that a run can be resumed."""

    every: int = Field(1, ge=1)
    """Steps between two checkpoints; the last step has one always."""
    keep: int = Field(3, ge=1)
    """Checkpoints that are kept, the newest ones."""
