"""Workers that die, stop or answer nonsense where a file says so. Nothing in the project leads here: a test names these
classes itself, and lays the files down in `<config.out>/faults`, as <role>-<step>-<index>.<kind>.

    kill     SIGKILL before the work      late     SIGKILL after the work, before the answer
    stop     SIGSTOP                      always   SIGKILL each time
    nan      a score that is no number    wait     until the file is gone, with the node's id in <name>.here

Each file is taken away when it strikes, but for `always` and `wait`.
"""

import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

import ray

from cluster.pools.interface import ROLES
from learner.types import PolicyState, Rollouts, WorkUnit
from learner.update import Prepared
from tests.cluster.stubs import STUBS

FAULTY = {role: f"tests.cluster.faults:{role}" for role in ROLES}
FAULTY_STUBS = {role: f"tests.cluster.faults:stub_{role}" for role in ROLES}


def lay(out: Path, *names: str) -> None:
    """Have these faults happen."""
    (out / "faults").mkdir(parents=True, exist_ok=True)
    for name in names:
        (out / "faults" / name).touch()


def left(out: Path) -> list[str]:
    """Faults that have not happened."""
    return sorted(path.name for path in (out / "faults").iterdir())


class Faulty:
    def __init__(self, config, role, classes):
        self.worker, self.role, self.folder = resolve_name(classes[role])(config), role, Path(config.out) / "faults"

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


rollout, reward, reference, learner = (partial(Faulty, role=role, classes=ROLES) for role in ROLES)
stub_rollout, stub_reward, stub_reference, stub_learner = (partial(Faulty, role=r, classes=STUBS) for r in ROLES)


def key(args) -> tuple[int, ...]:
    """Step and index of what a method was called with; those of the first state where there is nothing."""
    match args:
        case [WorkUnit() as unit, *_]:
            return unit.key
        case [Rollouts() as rollouts, *_]:
            return rollouts.unit.key
        case [PolicyState() as state, *_]:
            return state.version, 0
        case [Prepared() as prepared, *_]:  # a part of an update that several learners share
            return prepared.version, 1
    return (-1, 0)
