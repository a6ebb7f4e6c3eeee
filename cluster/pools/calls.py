"""Calls of workers' methods, and the handles of their results."""

from dataclasses import dataclass, field
from typing import Any

import ray

from cluster.pools.interface import Handle


@dataclass(eq=False)
class Call:
    """One call of a method, and where its results are once it was answered."""

    number: int
    role: str
    method: str
    args: tuple[Any, ...]
    results: int
    about: str
    attempts: int = 0  # workers lost over it
    refs: list[ray.ObjectRef] | None = None
    needed_by: list["Call"] = field(default_factory=list)

    def __lt__(self, other: "Call") -> bool:
        """The older one comes first."""
        return self.number < other.number


@dataclass(frozen=True)
class Result:
    """A handle: one of a call's results."""

    call: Call
    index: int

    @property
    def there(self) -> bool:
        """Whether the call was answered."""
        return self.call.refs is not None


def ray_object(handle: Handle) -> Any:
    """What Ray is given for a handle: the reference of a result that is there, or what else it is."""
    return handle.call.refs[handle.index] if isinstance(handle, Result) else handle
