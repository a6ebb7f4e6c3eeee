"""How a run is told from outside what to do, and tells how it is: two small files in its folder."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from cluster.driver import Start, start
from cluster.pools.interface import SIZES, Pools, Size, Supervisor, open_pools
from configs.schema import Config
from learner.atomic_files import replace_file
from learner.types import TrainState
from service.run.progress import Display

REQUEST = "scale.json"
"""Numbers of workers asked for, by role. The run takes the file away when it has read it."""


def ask(folder: Path, numbers: Mapping[str, int]) -> None:
    """Ask the run in a folder for other numbers of workers, by role."""
    replace_file(folder / REQUEST, json.dumps(dict(numbers)).encode())


def sizes(folder: Path) -> dict[str, dict[str, int]]:
    """Workers by role as the run last told; nothing before it did."""
    try:
        return json.loads((folder / SIZES).read_bytes())
    except (OSError, ValueError):
        return {}


@contextmanager
def started(
    config: Config, folder: Path, display: Display, resumed: TrainState | None = None
) -> Iterator[tuple[Pools, Start]]:
    """Workers with their models loaded, and what stands before the first step; they end with this."""
    with ExitStack() as stack:
        with display.phase("starting workers and loading models"):
            pools = stack.enter_context(open_pools(config, RunControl(folder, display.say)))
            begin = start(pools, resumed)
        yield pools, begin


class RunControl(Supervisor):
    """The run's end. It does nothing before the run's folder is there."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self._shown: Mapping[str, Size] = {}

    def requested(self) -> Mapping[str, int]:
        """What `ray_job.py scale` asked for since the last time."""
        file = self.folder / REQUEST
        try:
            asked = json.loads(file.read_bytes())
            file.unlink()
        except (OSError, ValueError):
            return {}
        for role, number in asked.items():
            self.say(f"{role}: {number} workers from now on, as asked for")
        return asked

    def show(self, sizes: Mapping[str, Size]) -> None:
        """Keep the file with the pools' sizes up to date."""
        if sizes == self._shown or not self.folder.is_dir():
            return
        self._shown = dict(sizes)
        text = json.dumps({role: asdict(size) for role, size in sizes.items()}, indent=2)
        replace_file(self.folder / SIZES, text.encode())
