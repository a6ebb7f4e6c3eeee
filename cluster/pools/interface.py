"""The interface of worker pools: the same whether workers are Ray actors or objects in this process."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, Protocol

Handle = Any
"""Stands for a result that may not exist yet; opaque outside the pools."""


@dataclass(frozen=True)
class WorkerSpec:
    """How to make a worker of a role."""

    path: str  # of the class, as module:name; the driver need not import it, which takes seconds
    settings: Any  # the constructor's only argument


def make_worker(spec: WorkerSpec, threads: int) -> Any:
    """A new worker with its models loaded."""
    kind = resolve_name(spec.path)
    set_threads(threads)
    return kind(spec.settings)


def set_threads(threads: int) -> None:
    """Set torch's number of threads if this process has loaded torch; simulated workers do without it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


class Pool(Protocol):
    """Workers of one role."""

    @property
    def workers(self) -> int:
        """Number of workers wanted now."""

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        """Call a method on one worker; handles among `args` are replaced by their values.

        `about` names what the call works on, for messages. Returns at once: a handle, or a list of handles if the
        method has several results.
        """


@dataclass(frozen=True)
class PoolSize:
    """Numbers of workers of one role, by state."""

    wanted: int
    ready: int = 0
    loading: int = 0
    pending: int = 0  # not yet placed by the cluster


class Supervisor:
    """Receives the pools' reports during a run, and passes requests to them. This one does neither."""

    def say(self, text: str) -> None:
        """Report something to the user."""

    def requested(self) -> Mapping[str, int]:
        """Numbers of workers, by role, requested since the last call."""
        return {}

    def show(self, sizes: Mapping[str, PoolSize]) -> None:
        """Publish the pools' sizes; called when they change."""


@dataclass(frozen=True)
class Pools:
    """One pool per role, and functions that turn handles into values and back."""

    by_role: Mapping[str, Pool]
    get: Callable[[Sequence[Handle]], list[Any]]
    """Wait for handles; returns their values.

    Raises `RunError` if a worker failed or a limit was exceeded, `UsageError` if a worker raised one."""
    put: Callable[[Any], Handle]
    """A handle for a value that many calls need."""
    retries: Counter[str] = field(default_factory=Counter)
    """Workers lost during a call so far, by role."""
    busy: Counter[str] = field(default_factory=Counter)
    """Seconds of work so far, by role."""
    processes: Callable[[], Sequence[tuple[int, str]]] = list
    """Process id and role of each ready worker that has a process of its own."""
    ahead: int = 1
    """Number of evaluation units to submit before fetching the first result."""

    @property
    def rollout(self) -> Pool:
        """Workers that sample completions."""
        return self.by_role["rollout"]

    @property
    def reward(self) -> Pool:
        """Workers that score them."""
        return self.by_role["reward"]

    @property
    def reference(self) -> Pool:
        """Workers with the frozen reference."""
        return self.by_role["reference"]

    @property
    def learner(self) -> Pool:
        """Workers that change weights."""
        return self.by_role["learner"]
