"""Calls of worker methods, and handles of their results."""

from dataclasses import dataclass, field
from typing import Any

import ray

from cluster.pools.interface import Handle


@dataclass(eq=False)
class Call:
    """One call of a worker method, and its results once it is answered."""

    number: int
    role: str
    method: str
    args: tuple[Any, ...]
    results: int
    about: str
    attempts: int = 0  # workers lost during it
    refs: list[ray.ObjectRef] | None = None
    needed_by: list["Call"] = field(default_factory=list)

    def __lt__(self, other: "Call") -> bool:
        """Older calls come first."""
        return self.number < other.number


@dataclass(frozen=True)
class Result:
    """A handle: one of a call's results."""

    call: Call
    index: int

    @property
    def available(self) -> bool:
        """True once the call has been answered."""
        return self.call.refs is not None


def ray_object(handle: Handle) -> Any:
    """The Ray reference behind the handle of an available result; any other argument as it is."""
    return handle.call.refs[handle.index] if isinstance(handle, Result) else handle
