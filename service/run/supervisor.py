"""Scaling a run from outside through two small files in its folder: the request, and the current sizes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from cluster.pools.interface import PoolSize, Supervisor
from cluster.run_files import SIZES
from learner.atomic_files import replace_file

REQUEST = "scale.json"
"""Requested numbers of workers, by role. The run deletes the file once it has read it."""


def request_workers(folder: Path, numbers: Mapping[str, int]) -> None:
    """Request new numbers of workers, by role, from the run in a folder."""
    replace_file(folder / REQUEST, json.dumps(dict(numbers)).encode())


def read_sizes(folder: Path) -> dict[str, dict[str, int]]:
    """Workers by role as the run last reported them; empty before its first report."""
    try:
        return json.loads((folder / SIZES).read_bytes())
    except (OSError, ValueError):
        return {}


class RunSupervisor(Supervisor):
    """Connects a run's pools to the files in its folder. Does nothing until the folder exists."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self._shown: Mapping[str, PoolSize] = {}

    def requested(self) -> Mapping[str, int]:
        """Numbers of workers, by role, requested since the last call."""
        file = self.folder / REQUEST
        try:
            numbers = json.loads(file.read_bytes())
            file.unlink()
        except (OSError, ValueError):
            return {}
        for role, number in numbers.items():
            self.say(f"{role}: scaling to {number} workers, as requested")
        return numbers

    def show(self, sizes: Mapping[str, PoolSize]) -> None:
        """Write the pools' sizes to the folder if they have changed."""
        if sizes == self._shown or not self.folder.is_dir():
            return
        self._shown = dict(sizes)
        text = json.dumps({role: asdict(size) for role, size in sizes.items()}, indent=2)
        replace_file(self.folder / SIZES, text.encode())
