"""The workers of one role as Ray actors: how many there are, what each is doing, and for how long."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from time import monotonic

import ray

from cluster.layout import RoleLayout
from cluster.pools.interface import PoolSize, WorkerSpec
from cluster.pools.worker import Worker, WorkerActor
from configs.cluster import ClusterConfig

PATIENCE = 10.0
"""Seconds that a worker may look for a place before people are told."""
STANDSTILL = 30.0
"""Seconds in which nobody has found a place after which a role that has no worker is given one by another role. Ray
does not tell a worker without a place from one whose process is slow to start; where all are slow, some still start."""


class WorkerGroup:
    """The workers of one role."""

    def __init__(
        self, role: str, spec: WorkerSpec, layout: RoleLayout, cluster: ClusterConfig, say: Callable[[str], None]
    ) -> None:
        self.role, self.spec, self.layout, self.cluster, self.say = role, spec, layout, cluster, say
        self.timeout = cluster.update_timeout if role == "learner" else cluster.call_timeout
        self.fewest, self.most = layout.fewest, layout.most
        self.wanted = self.fewest
        self.workers: list[Worker] = []
        self.failed_starts = 0
        self._names = count()
        self._waiting_since: float | None = None

    def fill(self) -> Iterator[Worker]:
        """Start the workers that are wanted and not there; let go those that are too many, idle ones first."""
        staying = [worker for worker in self.workers if not worker.leaving]
        for _ in range(self.wanted - len(staying)):
            self.workers.append(worker := self._start())
            yield worker
        staying.sort(key=lambda worker: (worker.call is not None, worker.state == "ready", worker.since))
        for worker in staying[: max(0, len(staying) - self.wanted)]:
            self.release(worker)

    def _start(self) -> Worker:
        # Ray's own restarts are not used: they are bounded per worker, not per call, and make no difference between a
        # worker that died of a call and one that was killed.
        options = {"num_cpus": self.layout.cpus, "num_gpus": self.layout.gpus, "scheduling_strategy": "SPREAD"}
        name = f"{self.role}-{next(self._names)}"
        actor = ray.remote(WorkerActor).options(name=name, max_restarts=0, max_task_retries=0, **options).remote()
        spec, threads = self.spec, self.layout.threads
        return Worker(self.role, name, actor, lambda actor: actor.load.remote(spec, threads), actor.begin.remote())

    def free(self) -> Worker | None:
        """A worker that has nothing to do: of several the one that worked last, so that the others may go."""
        idle = [w for w in self.workers if w.state == "ready" and not w.call and not w.leaving]
        return max(idle, key=lambda worker: worker.since, default=None)

    def ready(self) -> int:
        """Workers with their models loaded."""
        return sum(worker.state == "ready" for worker in self.workers)

    def size(self) -> PoolSize:
        """How many are doing what."""
        states = [worker.state for worker in self.workers]
        return PoolSize(self.wanted, *(states.count(state) for state in ("ready", "loading", "pending")))

    def resize(self, number: int) -> None:
        """Have so many from now on, whatever the config says."""
        self.fewest = self.most = self.wanted = number

    def overdue(self) -> list[Worker]:
        """Workers whose time for what they are doing is up."""
        now, start = monotonic(), self.cluster.start_timeout
        busy = [worker for worker in self.workers if worker.call or worker.state != "ready"]
        return [worker for worker in busy if now - worker.since > (self.timeout if worker.call else start)]

    def follow(self, queued: int) -> None:
        """Want more workers where units have waited for long, and fewer where workers have idled for long."""
        now, cluster = monotonic(), self.cluster
        if not queued or self.ready() < len(self.workers):
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        if self._waiting_since is not None and now - self._waiting_since >= cluster.grow_after:
            self.wanted = min(self.most, len(self.workers) + queued)
            self._waiting_since = None
        idle = [w for w in self.workers if w.state == "ready" and not w.call and now - w.since > cluster.shrink_after]
        self.wanted = max(self.fewest, self.wanted - len(idle))

    def newly_pending(self) -> int:
        """Workers that have looked for a place for long and of which nobody was told yet."""
        pending = [w for w in self.workers if w.state == "pending" and not w.told and monotonic() - w.since > PATIENCE]
        for worker in pending:
            worker.told = True
        return len(pending)

    def make_room(self, groups: Iterable["WorkerGroup"]) -> None:
        """Where this role has no worker and finds no place for one, let another role do with fewer."""
        if not self.workers or any(worker.state != "pending" for worker in self.workers):
            return
        groups = list(groups)
        moved = [worker.placed for group in groups for worker in group.workers]
        still = monotonic() - max(*moved, *(worker.since for worker in self.workers))
        giver = max(groups, key=WorkerGroup.holding)
        if still > STANDSTILL and giver.holding() > 1:
            self.say(f"{self.role}: no place for a worker, so {giver.role} does with {giver.holding() - 1}")
            giver.resize(giver.holding() - 1)
            for worker in self.workers:
                worker.since = monotonic()  # time for the place to become free

    def holding(self) -> int:
        """Workers that have a place."""
        return sum(worker.state != "pending" and not worker.leaving for worker in self.workers)

    def release(self, worker: Worker) -> None:
        """Let the worker go, after the call that it has."""
        if worker.call:
            worker.leaving = True
        else:
            self.dismiss(worker)

    def dismiss(self, worker: Worker) -> None:
        """Take the worker out and end its process."""
        if worker in self.workers:
            self.workers.remove(worker)
        ray.kill(worker.actor)
