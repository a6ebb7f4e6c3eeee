"""Settings of the workers: how many there are, where they run and what each gets."""

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


def _with_message(message: str) -> WrapValidator:
    """Replaces pydantic's errors for a union, one per member, by a single message."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            details = error.errors()
            specific = [d["msg"].removeprefix("Value error, ") for d in details if d["type"] == "value_error"]
            raise ValueError(specific[0] if specific else message) from error

    return WrapValidator(check)


def span(count: int | str) -> tuple[int, int]:
    """Minimum and maximum number of workers given by a number or by a span such as 1-4."""
    fewest, most = str(count).split("-") if "-" in str(count) else (count, count)
    return int(fewest), int(most)


def _ordered(count: int | str) -> int | str:
    if count != "auto" and span(count)[0] > span(count)[1]:
        raise ValueError(f"the lower end of {count} exceeds its upper end")
    return count


Count = Annotated[
    Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^(auto|[1-9]\d*-[1-9]\d*)$")],
    AfterValidator(_ordered),
    _with_message("must be a number of at least 1, a span such as 1-4, or auto"),
]
Amount = Annotated[
    Annotated[float, Field(ge=0)] | Literal["auto"], _with_message("must be auto or a number (fractions are allowed)")
]


class WorkersConfig(Section):
    """Number of workers per role."""

    rollout: Count = 2
    """Workers that sample completions: a number, auto, or a span such as 1-4 within which it scales with the load."""
    reward: Count = 2
    """Replicas of the reward model: a number, auto, or a span."""
    reference: Count = 1
    """Workers with the frozen reference: a number, auto, or a span."""
    learner: int = Field(1, ge=1)
    """Workers that compute gradients. Several share the microbatches of each minibatch, which requires more than one
    microbatch (`algorithm.microbatch_size`); the result is bit-identical for any number."""


class ResourcesConfig(Section):
    """Resources of each worker of a role."""

    cpus: Amount = "auto"
    """CPUs that Ray reserves, possibly fractional; auto: one per thread, fewer if there are not enough."""
    gpus: Amount = "auto"
    """GPUs, possibly fractional; auto: divided among the roles if there are any."""
    threads: int = Field(1, ge=1)
    """Torch threads; changing it changes the bits of the results."""


class RoleResourcesConfig(Section):
    """Resources per role."""

    rollout: ResourcesConfig = ResourcesConfig()
    """For each rollout worker."""
    reward: ResourcesConfig = ResourcesConfig()
    """For each reward worker."""
    reference: ResourcesConfig = ResourcesConfig()
    """For each reference worker."""
    learner: ResourcesConfig = ResourcesConfig()
    """For each learner."""

    @model_validator(mode="after")
    def _check(self) -> "RoleResourcesConfig":
        gpus = [getattr(self, role).gpus for role in ("rollout", "reference", "learner")]
        if len({"auto" if amount == "auto" else amount > 0 for amount in gpus}) > 1:
            raise ValueError(
                "gpus: rollout, reference and learner must all be auto, all have GPUs or all have none, "
                "so that they compute the same numbers"
            )
        return self


class ClusterConfig(Section):
    """Where the workers run."""

    backend: Literal["ray", "inline"] = "ray"
    """ray: each worker is a Ray actor; inline: everything runs in this process, with bit-identical results."""
    address: str | None = None
    """Ray address; null: RAY_ADDRESS or a running local head if there is one, else a new local Ray."""
    resources: RoleResourcesConfig = RoleResourcesConfig()
    """Resources of each worker."""
    start_timeout: float = Field(300, gt=0)
    """Seconds that a worker may take to be placed and to load its models."""
    call_timeout: float = Field(600, gt=0)
    """Seconds that a worker may spend on one unit before it is considered hung and replaced."""
    update_timeout: float = Field(3600, gt=0)
    """Seconds that a learner may spend on one step, or on its share of it if there are several learners."""
    grow_after: float = Field(5, ge=0)
    """With a span of workers: seconds that a unit waits for a free worker before another one is started."""
    shrink_after: float = Field(120, gt=0)
    """With a span of workers: idle seconds after which a worker is stopped."""
    attempts: int = Field(4, ge=1)
    """Workers that may die on one unit, or in a row while starting, before the run fails."""


class CheckpointsConfig(Section):
    """Checkpoints, from which a run can be resumed."""

    every: int = Field(1, ge=1)
    """Steps between two checkpoints; the last step always has one."""
    keep: int = Field(3, ge=1)
    """Number of newest checkpoints to keep."""
