"""Pools of workers, the same to the driver whether they are Ray actors or objects of this process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol

from configs.errors import RunError
from configs.schema import Config

ROLES = {
    "rollout": "workers.rollout:RolloutWorker",
    "reward": "workers.reward:RewardWorker",
    "reference": "workers.reference:ReferenceWorker",
    "learner": "learner.learner:Learner",
}
"""Where each role's class is. By name: importing it loads the models' libraries, seconds that a driver can save."""


def make_worker(role: str, config: Config) -> object:
    """The worker of a role, its models loaded."""
    return resolve_name(ROLES[role])(config)


def pool_size(role: str, config: Config) -> int:
    """Workers of a role; the learner is one."""
    return getattr(config.workers, role, 1)


Handle = Any
"""Stands for a result that may not exist yet; only pools look inside."""


class Pool(Protocol):
    """Workers of one role."""

    def submit(self, method: str, *args: Any, results: int = 1) -> Any:
        """Have one worker call a method; handles among `args` are replaced by what they stand for.

        Returns at once: a handle, or a list of them where the method has several results.
        """


@dataclass(frozen=True)
class Pools:
    """One pool per role, and how to turn handles into values."""

    rollout: Pool
    reward: Pool
    reference: Pool
    learner: Pool
    get: Callable[[Sequence[Handle]], list[Any]]
    """Waits for handles and returns their values. Raises `RunError` where a worker failed or a deadline passed."""


@contextmanager
def open_pools(config: Config) -> Iterator[Pools]:
    """Start the workers that the config asks for and stop them at the end."""
    if config.cluster.backend == "inline":
        yield inline_pools(config)
        return
    # Ray is loaded only where it is used: the inline backend works without it.
    from cluster.ray_pools import open_ray_pools

    with open_ray_pools(config) as pools:
        yield pools


class InlinePool:
    """One worker in this process; a handle is the value itself."""

    def __init__(self, worker: object) -> None:
        self.worker = worker

    def submit(self, method: str, *args: Any, results: int = 1) -> Any:
        """Call the method here and now."""
        with _worker_errors():
            value = getattr(self.worker, method)(*args)
        return list(value) if results > 1 else value


@contextmanager
def _worker_errors() -> Iterator[None]:
    """Whatever a worker raises, as Ray's pools would tell it."""
    try:
        yield
    except Exception as error:
        raise RunError(f"a worker failed: {type(error).__name__}: {error}") from error


def inline_pools(config: Config) -> Pools:
    """One worker per role in this process: for tests, debugging, and to measure what Ray costs."""
    with _worker_errors():
        workers = {role: InlinePool(make_worker(role, config)) for role in ROLES}
    return Pools(**workers, get=list)
