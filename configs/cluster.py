"""The settings of workers and where they run."""

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Section


class Workers(Section):
    """Workers per role; the learner is one."""

    rollout: int = Field(2, ge=1)
    """Workers that sample completions."""
    reward: int = Field(2, ge=1)
    """Replicas of the reward model."""
    reference: int = Field(1, ge=1)
    """Workers with the frozen reference."""


class Resources(Section):
    """What Ray sets aside for each worker of a role."""

    cpus: float = Field(0.25, ge=0)
    """CPUs, or a fraction of one."""
    gpus: float = Field(0, ge=0)
    """GPUs, or a fraction of one."""


class RoleResources(Section):
    """Resources per role."""

    rollout: Resources = Resources()
    """Of each rollout worker."""
    reward: Resources = Resources()
    """Of each reward worker."""
    reference: Resources = Resources()
    """Of each reference worker."""
    learner: Resources = Resources()
    """Of the learner."""

    @model_validator(mode="after")
    def _check(self) -> "RoleResources":
        on_gpu = {role: bool(getattr(self, role).gpus) for role in ("rollout", "reference", "learner")}
        if len(set(on_gpu.values())) > 1:
            raise ValueError("rollout, reference and learner must all have GPUs or none, to compute the same numbers")
        return self


class Cluster(Section):
    """Where the workers run."""

    backend: Literal["ray", "inline"] = "ray"
    """ray: each worker is a Ray actor; inline: everything in this process, with the same result to the bit."""
    address: str | None = None
    """Ray address; null: RAY_ADDRESS or a running local head if there is one, else a Ray of its own."""
    threads: int = Field(1, ge=1)
    """Torch threads per worker; it changes the bits."""
    resources: RoleResources = RoleResources()
    """What Ray sets aside per worker."""
    start_timeout: float = Field(300, gt=0)
    """Seconds that workers may take to load their models."""
    call_timeout: float = Field(3600, gt=0)
    """Seconds that one step may take."""
