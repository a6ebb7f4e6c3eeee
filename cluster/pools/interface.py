"""Pools of workers, the same to the driver whether they are Ray actors or objects of this process."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pkgutil import resolve_name
from time import perf_counter
from typing import Any, Protocol

from cluster.layout import Machine, resolve
from configs.errors import RunError, UsageError
from configs.schema import Config

ROLES = {
    "rollout": "workers.rollout.worker:RolloutWorker",
    "reward": "workers.reward.worker:RewardWorker",
    "reference": "workers.reference:ReferenceWorker",
    "learner": "learner.learner:Learner",
}
"""Where each role's class is. By name: importing it loads the models' libraries, seconds that a driver can save."""


def make_worker(path: str, config: Config, threads: int) -> object:
    """The worker of the class at `path`, its models loaded."""
    kind = resolve_name(path)
    set_threads(threads)
    return kind(config)


def set_threads(threads: int) -> None:
    """Torch's, in a process whose worker has loaded it; what does without torch need not."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


Handle = Any
"""Stands for a result that may not exist yet; only pools look inside."""


class Pool(Protocol):
    """Workers of one role."""

    @property
    def workers(self) -> int:
        """How many there are, or are to be."""

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        """Have one worker call a method; handles among `args` are replaced by what they stand for.

        `about` says what the call works on, where people are told of it. Returns at once: a handle, or a list of them
        where the method has several results.
        """


@dataclass(frozen=True)
class Size:
    """Workers of one role at a moment."""

    wanted: int
    ready: int = 0
    loading: int = 0
    pending: int = 0  # asked for, without a place in the cluster yet


SIZES, STATUS, LOCK = "workers.json", "status.json", "lock"
"""Files in a run's folder that tell how it is: workers by role (wanted, ready, loading their models, pending for want
of a place), what it is doing, who has the folder. A run that came to nothing may have left them and nothing else."""


class Supervisor:
    """What pools are told, and tell, while a run goes on. This one asks for nothing and is silent."""

    def say(self, text: str) -> None:
        """Something people should know."""

    def requested(self) -> Mapping[str, int]:
        """Numbers of workers, by role, that were asked for since this was last called."""
        return {}

    def show(self, sizes: Mapping[str, Size]) -> None:
        """The pools' sizes, called when they change."""


@dataclass(frozen=True)
class Pools:
    """One pool per role, and how to turn handles into values and back."""

    rollout: Pool
    reward: Pool
    reference: Pool
    learner: Pool
    get: Callable[[Sequence[Handle]], list[Any]]
    """Waits for handles and returns their values.

    Raises `RunError` where a worker failed or a limit was passed, `UsageError` where that is what a worker raised."""
    put: Callable[[Any], Handle]
    """A handle for a value that many calls will need."""
    retries: Counter[str] = field(default_factory=Counter)
    """Workers lost so far while they worked, by role."""
    busy: Counter[str] = field(default_factory=Counter)
    """Seconds that workers have worked so far, by role."""
    processes: Callable[[], Sequence[tuple[int, str]]] = list
    """Process and role of each worker that is ready, where it has a process of its own."""
    ahead: int = 1
    """Units that are worth submitting before the first of them is asked for."""


@contextmanager
def open_pools(
    config: Config, supervisor: Supervisor | None = None, classes: Mapping[str, str] = ROLES
) -> Iterator[Pools]:
    """Start the workers that the config asks for, of the given classes, and stop them at the end."""
    if config.cluster.backend == "inline":
        yield inline_pools(config, classes)
        return
    # Ray is loaded only where it is used: the inline backend works without it.
    from cluster.pools.ray_pools import open_ray_pools

    with open_ray_pools(config, supervisor or Supervisor(), classes) as pools:
        yield pools


class InlinePool:
    """One worker in this process; a handle is the value itself."""

    workers = 1

    def __init__(self, role: str, worker: object, threads: int, busy: Counter[str]) -> None:
        self.role, self.worker, self.threads, self.busy = role, worker, threads, busy

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        """Call the method here and now."""
        set_threads(self.threads)
        began = perf_counter()
        with _worker_errors(about):
            value = getattr(self.worker, method)(*args)
        self.busy[self.role] += perf_counter() - began
        return list(value) if results > 1 else value


@contextmanager
def _worker_errors(about: str) -> Iterator[None]:
    """Whatever a worker raises, as Ray's pools would tell it."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise RunError(f"a worker failed on {about}: {type(error).__name__}: {error}") from error


def inline_pools(config: Config, classes: Mapping[str, str] = ROLES) -> Pools:
    """One worker per role in this process: for tests, debugging, and to measure what Ray costs."""
    config = resolve(config, [Machine.here()])
    workers, busy = {}, Counter[str]()
    for role, path in classes.items():
        threads = getattr(config.cluster.resources, role).threads
        with _worker_errors(f"starting as {role}"):
            workers[role] = InlinePool(role, make_worker(path, config, threads), threads, busy)
    return Pools(**workers, get=list, put=lambda value: value, busy=busy)
