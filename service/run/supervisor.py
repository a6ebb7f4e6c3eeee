"""Scaling a run from outside through small files in its folder: a request for each role, and the current sizes."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from cluster.layout import ROLES
from cluster.pools.interface import PoolSize, Supervisor
from cluster.run_files import CONFIG, SIZES
from configs.errors import UsageError
from configs.presets import read_yaml
from learner.atomic_files import replace_file

REQUESTS = "scale"
"""Folder of the requests: a file per role with the number of workers. The run moves away what it reads."""


def request_workers(folder: Path, numbers: Mapping[str, int]) -> None:
    """Request new numbers of workers, by role, from the run in a folder. Requests for other roles stay.

    Raises `UsageError` if the run has no workers to scale.
    """
    if (folder / CONFIG).is_file() and read_yaml(str(folder / CONFIG))["cluster"]["backend"] == "inline":
        raise UsageError("workers: this run computes everything in one process (cluster.backend: inline)")
    (folder / REQUESTS).mkdir(exist_ok=True)
    for role, number in numbers.items():
        replace_file(folder / REQUESTS / role, str(number).encode())


def is_requested(folder: Path, roles: Iterable[str]) -> bool:
    """True while the run has not read the requests for all of these roles."""
    return any((folder / REQUESTS / role).exists() for role in roles)


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
        numbers = {role: number for role in ROLES if (number := self._take(role))}
        for role, number in numbers.items():
            self.say(f"{role}: scaling to {number} workers, as requested")
        return numbers

    def _take(self, role: str) -> int | None:
        """The number requested for a role. Moved away before it is read, so that a newer request is not deleted."""
        file = self.folder / REQUESTS / role
        try:
            return int(file.replace(file.with_suffix(".taken")).read_text())
        except (OSError, ValueError):
            return None

    def show(self, sizes: Mapping[str, PoolSize]) -> None:
        """Write the pools' sizes to the folder if they have changed."""
        if sizes == self._shown or not self.folder.is_dir():
            return
        self._shown = dict(sizes)
        text = json.dumps({role: asdict(size) for role, size in sizes.items()}, indent=2)
        replace_file(self.folder / SIZES, text.encode())
