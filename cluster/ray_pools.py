"""Pools of Ray actors. The only file that imports Ray."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from cluster.pools import ROLES, Pools, make_worker, pool_size
from configs.errors import RunError
from configs.schema import Config

RESTARTS = 3
"""Times that a worker may die, and that a call may be tried again, before the run fails."""


class Host:
    """What an actor is: the worker of one role."""

    def __init__(self, role: str, config: Config) -> None:
        self.worker = make_worker(role, config)

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the worker."""
        return getattr(self.worker, method)(*args)


class RayPool:
    """The Ray actors of one role; calls go round them in turn."""

    def __init__(self, role: str, config: Config) -> None:
        needs = getattr(config.cluster.resources, role)
        needed = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        lasting = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS}
        actor = ray.remote(Host)
        size = pool_size(role, config)
        self.actors = [actor.options(**needed, **lasting, name=f"{role}-{i}").remote(role, config) for i in range(size)]
        self._calls = count()

    def submit(self, method: str, *args: Any, results: int = 1) -> Any:
        """Queue the call at the next actor; Ray holds it back until the objects it needs exist."""
        actor = self.actors[next(self._calls) % len(self.actors)]
        return actor.call.options(num_returns=results).remote(method, *args)


@contextmanager
def open_ray_pools(config: Config) -> Iterator[Pools]:
    """Join the cluster or start a local one, start all workers side by side, and wait until they have loaded."""
    try:
        # A local Ray of our own needs no dashboard; where there is a cluster already, the argument means nothing.
        ray.init(address=config.cluster.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RayError, ValueError) as error:
        raise RunError(f"cluster.address: no Ray cluster at {config.cluster.address!r}: {error}") from error
    try:
        _check_resources(config)
        pools = {role: RayPool(role, config) for role in ROLES}
        ready = [actor.__ray_ready__.remote() for pool in pools.values() for actor in pool.actors]
        _get(ready, "cluster.start_timeout", config.cluster.start_timeout)
        yield Pools(**pools, get=lambda handles: _get(handles, "cluster.call_timeout", config.cluster.call_timeout))
    finally:
        ray.shutdown()


def _check_resources(config: Config) -> None:
    """Ask for no more than the cluster has in all, since Ray would wait for the rest for ever."""
    has = ray.cluster_resources()
    for kind, name in [("cpus", "CPU"), ("gpus", "GPU")]:
        asked = {
            role: getattr(getattr(config.cluster.resources, role), kind) * pool_size(role, config) for role in ROLES
        }
        if sum(asked.values()) > has.get(name, 0):
            listed = ", ".join(f"{role} {amount:g}" for role, amount in asked.items())
            raise RunError(
                f"the run asks for {sum(asked.values()):g} {name} ({listed}), the cluster has {has.get(name, 0):g}: "
                f"lower workers.* or cluster.resources.*.{kind}"
            )


def _get(handles: Sequence[ray.ObjectRef], deadline: str, seconds: float) -> list[Any]:
    """Values of the handles. Raises `RunError` that says which call failed and why."""
    try:
        return ray.get(list(handles), timeout=seconds)
    except GetTimeoutError as error:
        raise RunError(f"no answer from the workers within {seconds:g} s ({deadline})") from error
    except RayTaskError as error:
        raise RunError(f"a worker failed: {type(error.cause).__name__}: {error.cause}") from error
    except RayError as error:
        last_line = str(error).strip().splitlines()[-1]
        raise RunError(f"a worker died: {type(error).__name__}: {last_line}") from error
