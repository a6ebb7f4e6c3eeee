"""Pools of Ray actors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from cluster.fit import check_fit
from cluster.layout import LayoutRequest, describe
from cluster.pools.dispatcher import Dispatcher
from cluster.pools.interface import Pools, Supervisor
from cluster.pools.worker_group import WorkerGroup
from cluster.ray_cluster import connected
from cluster.roles import SpecFactory
from configs.schema import Config

AHEAD = 512
"""Evaluation units submitted at a time: enough for all workers, too few to fill the object store."""


class RayPool:
    """The Ray actors of one role, as the driver sees them."""

    def __init__(self, role: str, dispatcher: Dispatcher) -> None:
        self.role, self.dispatcher = role, dispatcher

    @property
    def workers(self) -> int:
        """Number of workers wanted now."""
        return self.dispatcher.groups[self.role].wanted

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        """Queue the call."""
        handles = self.dispatcher.submit(self.role, method, args, results, about)
        return handles if results > 1 else handles[0]


@contextmanager
def open_ray_pools(
    config: Config, supervisor: Supervisor, specs: SpecFactory, request: LayoutRequest
) -> Iterator[Pools]:
    """Start all workers in parallel on a Ray cluster; they stop on leaving the context.

    Raises `UsageError` before any worker starts if they do not all fit the cluster.
    """
    with connected(config.cluster.address) as machines:
        layout = check_fit(request, machines)
        supervisor.say(f"workers: {describe(layout)}")
        groups = {
            role: WorkerGroup(role, spec, layout[role], config.cluster, supervisor.say)
            for role, spec in specs(config, layout).items()
        }
        dispatcher = Dispatcher(config.cluster, groups, supervisor)
        dispatcher.maintain()
        yield Pools(
            {role: RayPool(role, dispatcher) for role in groups},
            get=dispatcher.get,
            put=ray.put,
            retries=dispatcher.retries,
            busy=dispatcher.busy,
            processes=dispatcher.processes,
            ahead=AHEAD,
        )
