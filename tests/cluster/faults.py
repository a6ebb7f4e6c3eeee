"""Workers that die, stop or answer nonsense on request. A test passes these worker classes to the pools, and requests a
fault by a file `<config.out>/faults/<role>-<step>-<index>.<kind>`.

    kill     SIGKILL before the work      late     SIGKILL after the work, before the answer
    stop     SIGSTOP before the work      always   SIGKILL every time
    nan      a score is NaN               wait     until the file is removed; <name>.here holds the node's id

A file is removed when its fault happens, except for `always` and `wait`.
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from cluster.pools.interface import WorkerSpec, make_worker
from cluster.roles import worker_specs
from learner.types import PolicyState, Rollouts, WorkUnit
from learner.update import PreparedStep
from tests.cluster.stubs import STUBS


@dataclass(frozen=True)
class Around:
    """The worker that is wrapped, and the folder that requests its faults."""

    worker: WorkerSpec
    role: str
    folder: Path


def faulty(specs):
    """A spec factory for the same workers with faults."""

    def make(config, layout):
        folder = Path(config.out) / "faults"
        return {
            role: WorkerSpec("tests.cluster.faults:Faulty", Around(spec, role, folder))
            for role, spec in specs(config, layout).items()
        }

    return make


FAULTY, FAULTY_STUBS = faulty(worker_specs), faulty(STUBS)


def lay(out: Path, *names: str) -> None:
    """Request these faults."""
    (out / "faults").mkdir(parents=True, exist_ok=True)
    for name in names:
        (out / "faults" / name).touch()


def left(out: Path) -> list[str]:
    """Requested faults that have not happened yet."""
    return sorted(path.name for path in (out / "faults").iterdir())


class Faulty:
    def __init__(self, around):
        self.worker, self.role, self.folder = make_worker(around.worker, 1), around.role, around.folder

    def __getattr__(self, method):
        def call(*args):
            name = f"{self.role}-{'-'.join(map(str, key(args)))}"
            if (self.folder / f"{name}.always").exists() or self.strikes(f"{name}.kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.strikes(f"{name}.stop"):
                os.kill(os.getpid(), signal.SIGSTOP)
            if (self.folder / f"{name}.wait").exists():
                (self.folder / f"{name}.here").write_text(ray.get_runtime_context().get_node_id())
            while (self.folder / f"{name}.wait").exists():
                time.sleep(0.01)
            value = getattr(self.worker, method)(*args)
            if self.strikes(f"{name}.late"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.strikes(f"{name}.nan"):
                scores = value.scores.clone()
                scores[0] = float("nan")
                value = replace(value, scores=scores)
            return value

        return call

    def strikes(self, name) -> bool:
        try:
            (self.folder / name).unlink()
        except FileNotFoundError:
            return False
        return True


def key(args) -> tuple[int, ...]:
    """(step, index) of a call, by its arguments; those of the initial state for a call without any."""
    match args:
        case [WorkUnit() as unit, *_]:
            return unit.key
        case [Rollouts() as rollouts, *_]:
            return rollouts.unit.key
        case [PolicyState() as state, *_]:
            return state.version, 0
        case [PreparedStep() as prepared, *_]:  # a part of an update shared by several learners
            return prepared.version, 1
    return (-1, 0)
