"""Opens the pools of a run on the backend named by its config."""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from cluster.pools.inline import inline_pools
from cluster.pools.interface import Pools, Supervisor
from cluster.roles import SpecFactory, worker_specs
from configs.schema import Config


@contextmanager
def open_pools(
    config: Config,
    supervisor: Supervisor | None = None,
    specs: SpecFactory = worker_specs,
    request: LayoutRequest | None = None,
) -> Iterator[Pools]:
    """Start the workers that the config requests, as specified by `specs`; they stop on leaving the context.

    `request`: which roles have workers and how many, if not those of a training run.

    Raises `UsageError` before any worker starts if they do not all fit the cluster.
    """
    request = request or LayoutRequest.of(config)
    if config.cluster.backend == "inline":
        layout = resolve(request, [Machine.here()])
        yield inline_pools(specs(config, layout), layout)
        return
    # Ray is imported only where it is used: the inline backend works without it.
    from cluster.pools.ray_pools import open_ray_pools

    with open_ray_pools(config, supervisor or Supervisor(), specs, request) as pools:
        yield pools
