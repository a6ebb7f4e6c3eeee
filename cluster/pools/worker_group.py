"""The workers of one role as Ray actors: their number, states and deadlines."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from time import monotonic

import ray

from cluster.layout import RoleLayout
from cluster.pools.interface import PoolSize, WorkerSpec
from cluster.pools.worker import Worker, WorkerActor
from configs.cluster import ClusterConfig

PATIENCE = 10.0
"""Seconds that a worker may stay pending before this is reported."""
STANDSTILL = 30.0
"""Seconds without any placement after which another role gives up a worker for a role that has none. Ray does not
distinguish a worker without a place from one whose process is slow to start; where all are slow, some still start."""


class WorkerGroup:
    """The workers of one role."""

    def __init__(
        self, role: str, spec: WorkerSpec, layout: RoleLayout, cluster: ClusterConfig, report: Callable[[str], None]
    ) -> None:
        self.role, self.spec, self.layout, self.cluster, self.report = role, spec, layout, cluster, report
        self.timeout = cluster.update_timeout if role == "learner" else cluster.call_timeout
        self.fewest, self.most = layout.fewest, layout.most
        self.wanted = self.fewest
        self.workers: list[Worker] = []
        self.failed_starts = 0
        self._names = count()
        self._waiting_since: float | None = None

    def fill(self) -> Iterator[Worker]:
        """Start missing workers, which are yielded, and release surplus ones, idle ones first."""
        staying = [worker for worker in self.workers if not worker.leaving]
        for _ in range(self.wanted - len(staying)):
            self.workers.append(worker := self._start())
            yield worker
        staying.sort(key=lambda worker: (worker.call is not None, worker.state == "ready", worker.since))
        for worker in staying[: max(0, len(staying) - self.wanted)]:
            self.release(worker)

    def _start(self) -> Worker:
        # Ray's own restarts are not used: they are bounded per worker, not per call, and treat a worker that died of a
        # call like one that was killed.
        options = {"num_cpus": self.layout.cpus, "num_gpus": self.layout.gpus, "scheduling_strategy": "SPREAD"}
        name = f"{self.role}-{next(self._names)}"
        actor = ray.remote(WorkerActor).options(name=name, max_restarts=0, max_task_retries=0, **options).remote()
        spec, threads = self.spec, self.layout.threads
        return Worker(self.role, name, actor, lambda actor: actor.load.remote(spec, threads), actor.ping.remote())

    def free(self) -> Worker | None:
        """The idle worker that was busy last, so that others stay idle and can be released; None if all are busy."""
        idle = [w for w in self.workers if w.state == "ready" and not w.call and not w.leaving]
        return max(idle, key=lambda worker: worker.since, default=None)

    def ready(self) -> int:
        """Number of workers with their models loaded."""
        return sum(worker.state == "ready" for worker in self.workers)

    def size(self) -> PoolSize:
        """Numbers of workers by state."""
        states = [worker.state for worker in self.workers]
        return PoolSize(self.wanted, *(states.count(state) for state in ("ready", "loading", "pending")))

    def resize(self, count: int) -> None:
        """Fix the number of workers from now on, overriding the config."""
        self.fewest = self.most = self.wanted = count

    def overdue(self) -> list[Worker]:
        """Workers that missed the deadline of what they are doing."""
        now, start = monotonic(), self.cluster.start_timeout
        busy = [worker for worker in self.workers if worker.call or worker.state != "ready"]
        return [worker for worker in busy if now - worker.since > (self.timeout if worker.call else start)]

    def autoscale(self, queued: int) -> None:
        """Want more workers once calls have queued for `grow_after`, fewer once some have idled for `shrink_after`."""
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
        """Number of workers pending for more than PATIENCE that were not counted here before."""
        unreported = [w for w in self.workers if w.state == "pending" and not w.reported_pending]
        overdue = [worker for worker in unreported if monotonic() - worker.since > PATIENCE]
        for worker in overdue:
            worker.reported_pending = True
        return len(overdue)

    def make_room(self, groups: Iterable["WorkerGroup"]) -> None:
        """Shrink the role with the most workers if this role has none and none can be placed."""
        if not self.workers or any(worker.state != "pending" for worker in self.workers):
            return
        groups = list(groups)
        placements = [worker.placed_at for group in groups for worker in group.workers]
        standstill = monotonic() - max(*placements, *(worker.since for worker in self.workers))
        donor = max(groups, key=WorkerGroup.placed)
        if standstill > STANDSTILL and donor.placed() > 1:
            self.report(f"{self.role}: no worker can be placed, so {donor.role} shrinks to {donor.placed() - 1}")
            donor.resize(donor.placed() - 1)
            for worker in self.workers:
                worker.since = monotonic()  # gives the place time to become free

    def placed(self) -> int:
        """Number of workers that have a place and keep it."""
        return sum(worker.state != "pending" and not worker.leaving for worker in self.workers)

    def release(self, worker: Worker) -> None:
        """Dismiss the worker, after its current call if any."""
        if worker.call:
            worker.leaving = True
        else:
            self.dismiss(worker)

    def dismiss(self, worker: Worker) -> None:
        """Remove the worker and kill its process."""
        if worker in self.workers:
            self.workers.remove(worker)
        ray.kill(worker.actor)
