"""Calls and who answers them: each waits for what it needs, goes to a free worker of its role, and to another one
where that worker dies or does not answer.

Since every worker is a function of its arguments, a call may be made again at any time. Nothing here knows what a call
computes; `WorkerGroup` (group.py) holds the workers of a role.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from time import monotonic
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from cluster.pools.calls import Call, Result, ray_object
from cluster.pools.failures import free_resources, is_lost_object, lost_because
from cluster.pools.interface import Handle, Supervisor
from cluster.pools.worker import Worker
from cluster.pools.worker_group import WorkerGroup
from configs.cluster import ClusterConfig
from configs.errors import RunError, UsageError

TICK = 1.0
"""Seconds after which deadlines and requests are looked at, though nothing was answered."""


class Dispatcher:
    """All calls of a run that are not answered yet, and the workers of all roles."""

    def __init__(self, cluster: ClusterConfig, groups: Mapping[str, WorkerGroup], supervisor: Supervisor) -> None:
        self.cluster, self.groups, self.supervisor = cluster, groups, supervisor
        self.retries: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self._numbers = count()
        self._queues: dict[str, list[Call]] = {role: [] for role in groups}
        self._missing: dict[Call, int] = {}  # results that a call waits for
        self._tend_at = 0.0
        self._under_way: dict[ray.ObjectRef, Worker] = {}  # by what tells that the worker is done

    def submit(self, role: str, method: str, args: tuple[Any, ...], results: int, about: str) -> list[Result]:
        """A new call; it goes to a worker as soon as it can."""
        call = Call(next(self._numbers), role, method, args, results, about)
        self._enqueue(call)
        self._assign()
        return [Result(call, i) for i in range(results)]

    def get(self, handles: Sequence[Handle]) -> list[Any]:
        """Values of the handles, made again where a node took them with it."""
        while True:
            while any(isinstance(handle, Result) and not handle.there for handle in handles):
                self._turn()
            try:
                return ray.get([ray_object(handle) for handle in handles], timeout=self.cluster.call_timeout)
            except GetTimeoutError as error:
                raise RunError("results could not be fetched in cluster.call_timeout: is a node cut off?") from error
            except RayError as error:
                if not is_lost_object(error):
                    raise RunError(f"results could not be fetched: {lost_because(error)}") from error
                self._make_again(handles)

    def processes(self) -> list[tuple[int, str]]:
        """Process, on its node, and role of each worker that has loaded its models."""
        return [(worker.pid, role) for role, group in self.groups.items() for worker in group.workers if worker.pid]

    def _enqueue(self, call: Call) -> None:
        """Queue the call, or have it wait for the calls whose results it needs."""
        waiting_for = {arg.call for arg in call.args if isinstance(arg, Result) and not arg.there}
        for needed in waiting_for:
            needed.needed_by.append(call)
        if waiting_for:
            self._missing[call] = len(waiting_for)
        else:
            heapq.heappush(self._queues[call.role], call)

    def _assign(self) -> None:
        """Give queued calls to free workers, the oldest call first."""
        for role, queue in self._queues.items():
            while queue and (worker := self.groups[role].free()):
                call = heapq.heappop(queue)
                if all(arg.there for arg in call.args if isinstance(arg, Result)):
                    self._under_way[worker.begin(call, [ray_object(arg) for arg in call.args])] = worker
                else:
                    self._enqueue(call)  # a result was lost meanwhile, and is being made again

    def _turn(self) -> None:
        """Wait until a worker is done, or a moment has passed, and do what follows from it."""
        if monotonic() >= self._tend_at:
            self.tend()
        if refs := list(self._under_way):
            ready, _ = ray.wait(refs, num_returns=1, timeout=TICK, fetch_local=False)
            if ready:
                ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
            for ref in ready:
                self._answered(self._under_way.pop(ref), ref)
        self._assign()

    def tend(self) -> None:
        """Look after deadlines and the number of workers."""
        self._tend_at = monotonic() + TICK
        requested = self.supervisor.requested()
        for role, group in self.groups.items():
            if role in requested:
                group.resize(requested[role])
            for worker in group.overdue():
                self._give_up(group, worker)
            group.follow(len(self._queues[role]))
            self._under_way |= {worker.receipt: worker for worker in group.fill()}
            if pending := group.newly_pending():
                self.supervisor.say(
                    f"{role}: {pending} workers wait for a place or for a process; the cluster has "
                    f"{free_resources()} free"
                )
            group.make_room(self.groups.values())
        self.supervisor.show({role: group.size() for role, group in self.groups.items()})

    def _answered(self, worker: Worker, receipt: ray.ObjectRef) -> None:
        """A worker has been placed, has loaded its models, or has answered its call; or it failed to."""
        group = self.groups[worker.role]
        if worker not in group.workers:
            return  # it was dismissed
        try:
            told = ray.get(receipt)
        except RayError as error:
            self._failed(worker, error)
        else:
            if worker.call:
                self.busy[worker.role] += told
            elif worker.state == "loading":
                worker.pid = told
            self._done(worker)
        if worker.leaving and not worker.call:
            group.dismiss(worker)

    def _done(self, worker: Worker) -> None:
        """Go on with the next thing: a loaded model after a place, and what waited for the results of a call."""
        call = worker.abandon()
        if not call:
            if following := worker.started():
                self._under_way[following] = worker
            else:
                self.groups[worker.role].failed_starts = 0
            self._tend_at = 0.0  # the pools' sizes have changed
            return
        call.refs = worker.results
        for waiting in call.needed_by:
            self._missing[waiting] -= 1
            if not self._missing[waiting]:
                del self._missing[waiting]
                heapq.heappush(self._queues[waiting.role], waiting)
        call.needed_by = []

    def _failed(self, worker: Worker, error: RayError) -> None:
        """An argument was lost with a node, or the worker is gone; or its method raised, which it would do again."""
        if worker.call and is_lost_object(error) and worker.call.attempts < self.cluster.attempts:
            call = worker.abandon()
            call.attempts += 1
            self._make_again(call.args)
            self._enqueue(call)
        elif isinstance(error, RayTaskError) and isinstance(error.cause, UsageError):
            raise error.cause from None
        elif isinstance(error, RayTaskError):
            doing = f"on {worker.call.about}" if worker.call else f"starting as {worker.role}"
            raise RunError(f"a worker failed {doing}: {type(error.cause).__name__}: {error.cause}") from error
        else:
            self._lose(worker, lost_because(error), error)

    def _lose(self, worker: Worker, reason: str, error: Exception | None = None) -> None:
        """The worker is gone: another will take its place, and its call."""
        group = self.groups[worker.role]
        group.dismiss(worker)
        self._tend_at = 0.0
        limit, call = self.cluster.attempts, worker.abandon()
        if not call:
            group.failed_starts += 1
            if group.failed_starts >= limit:
                raise RunError(f"{worker.role}: {limit} workers in a row died while they started: {reason}") from error
        elif worker.has_begun():
            call.attempts += 1
            if call.attempts >= limit:
                raise RunError(
                    f"{call.about}: {limit} {worker.role} workers were lost over it (cluster.attempts), the last one "
                    f"since {reason}"
                ) from error
        if call:
            self.retries[worker.role] += 1
            self._enqueue(call)
        doing = f"working on {call.about}" if call else "starting"
        self.supervisor.say(f"{worker.name} was lost while {doing}: {reason}; another takes its place")

    def _give_up(self, group: WorkerGroup, worker: Worker) -> None:
        """The worker's time is up."""
        if worker.call:
            self._lose(worker, f"it did not answer within {group.timeout:g} s")
            return
        state, seconds = worker.state, self.cluster.start_timeout
        what = f"{worker.name} was not ready within {seconds:g} s (cluster.start_timeout)"
        if state == "pending":
            what += f": it found no place; the cluster has {free_resources()} free"
        if not group.ready():
            raise RunError(what)
        group.dismiss(worker)
        group.resize(len(group.workers))
        self.supervisor.say(f"{what}; the run goes on with {len(group.workers)} {group.role} workers")

    def _make_again(self, handles: Sequence[Handle]) -> None:
        """Repeat the calls whose results are nowhere any more."""
        for call in {handle.call for handle in handles if isinstance(handle, Result) and handle.there}:
            try:
                ray.get(call.refs, timeout=self.cluster.call_timeout)
            except RayError:
                self.supervisor.say(f"the {call.role} results of {call.about} were lost with a node: made again")
                self.retries[call.role] += 1
                call.refs = None
                self._enqueue(call)
