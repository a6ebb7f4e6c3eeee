"""Starting the workers of a run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cluster.driver import Start, start
from cluster.pools.interface import Pools
from cluster.pools.opening import open_pools
from configs.schema import Config
from learner.types import TrainState
from service.run.progress import Display
from service.run.supervisor import RunSupervisor


@contextmanager
def started(
    config: Config, folder: Path, display: Display, resumed: TrainState | None = None
) -> Iterator[tuple[Pools, Start]]:
    """Workers with their models loaded, and the state before the first step; stops the workers on exit."""
    with ExitStack() as stack:
        with display.phase("starting workers and loading models"):
            pools = stack.enter_context(open_pools(config, RunSupervisor(folder, display.say)))
            initial = start(pools, resumed)
        yield pools, initial
