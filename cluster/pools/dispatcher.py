"""Dispatches calls: each waits for the results it needs, goes to a free worker of its role, and goes to another one if
that worker dies or does not answer in time.

Since every worker is a function of its arguments, a call may be repeated at any time. Nothing here knows what a call
computes; a `WorkerGroup` holds the workers of a role.
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
"""Seconds between checks of deadlines and requests while no call is answered."""


class Dispatcher:
    """All unanswered calls of a run, and the workers of all roles."""

    def __init__(self, cluster: ClusterConfig, groups: Mapping[str, WorkerGroup], supervisor: Supervisor) -> None:
        self.cluster, self.groups, self.supervisor = cluster, groups, supervisor
        self.retries: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self._numbers = count()
        self._queues: dict[str, list[Call]] = {role: [] for role in groups}
        self._missing: dict[Call, int] = {}  # number of results that a call still waits for
        self._maintain_at = 0.0
        self._running: dict[ray.ObjectRef, Worker] = {}  # by the receipt of what it is doing

    def submit(self, role: str, method: str, args: tuple[Any, ...], results: int, about: str) -> list[Result]:
        """Queue a call; returns handles of its results."""
        call = Call(next(self._numbers), role, method, args, results, about)
        self._enqueue(call)
        self._assign()
        return [Result(call, i) for i in range(results)]

    def get(self, handles: Sequence[Handle]) -> list[Any]:
        """Values of the handles; those lost with a node are recomputed first."""
        while True:
            while any(isinstance(handle, Result) and not handle.available for handle in handles):
                self._advance()
            try:
                return ray.get([ray_object(handle) for handle in handles], timeout=self.cluster.call_timeout)
            except GetTimeoutError as error:
                raise RunError(
                    "results were not fetched within cluster.call_timeout: is a node unreachable?"
                ) from error
            except RayError as error:
                if not is_lost_object(error):
                    raise RunError(f"results could not be fetched: {lost_because(error)}") from error
                self._recompute(handles)

    def processes(self) -> list[tuple[int, str]]:
        """Process id (on its node) and role of each worker that has loaded its models."""
        return [(worker.pid, role) for role, group in self.groups.items() for worker in group.workers if worker.pid]

    def _enqueue(self, call: Call) -> None:
        """Queue the call, or hold it back until the calls whose results it needs are answered."""
        waiting_for = {arg.call for arg in call.args if isinstance(arg, Result) and not arg.available}
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
                if all(arg.available for arg in call.args if isinstance(arg, Result)):
                    self._running[worker.start_call(call, [ray_object(arg) for arg in call.args])] = worker
                else:
                    self._enqueue(call)  # a result has been lost since, and is being recomputed

    def _advance(self) -> None:
        """Wait until a worker is done or TICK has passed, and act on it."""
        if monotonic() >= self._maintain_at:
            self.maintain()
        if refs := list(self._running):
            ready, _ = ray.wait(refs, num_returns=1, timeout=TICK, fetch_local=False)
            if ready:
                ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
            for ref in ready:
                self._handle_answer(self._running.pop(ref), ref)
        self._assign()

    def maintain(self) -> None:
        """Enforce deadlines, and adjust the numbers of workers."""
        self._maintain_at = monotonic() + TICK
        requested = self.supervisor.requested()
        for role, group in self.groups.items():
            if role in requested:
                group.resize(requested[role])
            for worker in group.overdue():
                self._handle_overdue(group, worker)
            group.autoscale(len(self._queues[role]))
            self._running |= {worker.receipt: worker for worker in group.fill()}
            if pending := group.newly_pending():
                self.supervisor.say(
                    f"{role}: {pending} workers are waiting for resources or for their process to start; the cluster "
                    f"has {free_resources()} free"
                )
            group.make_room(self.groups.values())
        self.supervisor.show({role: group.size() for role, group in self.groups.items()})

    def _handle_answer(self, worker: Worker, receipt: ray.ObjectRef) -> None:
        """Handle the end of what a worker was doing: being placed, loading its models or a call; it may have failed."""
        group = self.groups[worker.role]
        if worker not in group.workers:
            return  # it was dismissed
        try:
            value = ray.get(receipt)
        except RayError as error:
            self._failed(worker, error)
        else:
            if worker.call:
                self.busy[worker.role] += value
            elif worker.state == "loading":
                worker.pid = value
            self._succeeded(worker)
        if worker.leaving and not worker.call:
            group.dismiss(worker)

    def _succeeded(self, worker: Worker) -> None:
        """Load the models of a worker that was just placed, or queue the calls that waited for its results."""
        call = worker.release_call()
        if not call:
            if receipt := worker.advance():
                self._running[receipt] = worker
            else:
                self.groups[worker.role].failed_starts = 0
            self._maintain_at = 0.0  # the pools' sizes have changed
            return
        call.refs = worker.results
        for waiting in call.needed_by:
            self._missing[waiting] -= 1
            if not self._missing[waiting]:
                del self._missing[waiting]
                heapq.heappush(self._queues[waiting.role], waiting)
        call.needed_by = []

    def _failed(self, worker: Worker, error: RayError) -> None:
        """Handle an argument lost with a node, a lost worker, or the method's own error, which a retry would repeat."""
        if worker.call and is_lost_object(error) and worker.call.attempts < self.cluster.attempts:
            call = worker.release_call()
            call.attempts += 1
            self._recompute(call.args)
            self._enqueue(call)
        elif isinstance(error, RayTaskError) and isinstance(error.cause, UsageError):
            raise error.cause from None
        elif isinstance(error, RayTaskError):
            doing = f"on {worker.call.about}" if worker.call else f"while starting as {worker.role}"
            raise RunError(f"a worker failed {doing}: {type(error.cause).__name__}: {error.cause}") from error
        else:
            self._replace(worker, lost_because(error), error)

    def _replace(self, worker: Worker, reason: str, error: Exception | None = None) -> None:
        """Give up a lost worker: another one will replace it and take its call."""
        group = self.groups[worker.role]
        group.dismiss(worker)
        self._maintain_at = 0.0
        limit, call = self.cluster.attempts, worker.release_call()
        if not call:
            group.failed_starts += 1
            if group.failed_starts >= limit:
                raise RunError(f"{worker.role}: {limit} workers in a row died while starting: {reason}") from error
        elif worker.received_call():
            call.attempts += 1
            if call.attempts >= limit:
                raise RunError(
                    f"{call.about}: {limit} {worker.role} workers were lost while working on it (cluster.attempts), "
                    f"the last one because {reason}"
                ) from error
        if call:
            self.retries[worker.role] += 1
            self._enqueue(call)
        doing = f"working on {call.about}" if call else "starting"
        self.supervisor.say(f"{worker.name} was lost while {doing}: {reason}; starting a replacement")

    def _handle_overdue(self, group: WorkerGroup, worker: Worker) -> None:
        """Replace a worker that missed the deadline of its call; do without one that never became ready."""
        if worker.call:
            self._replace(worker, f"it did not answer within {group.timeout:g} s")
            return
        state, seconds = worker.state, self.cluster.start_timeout
        message = f"{worker.name} was not ready within {seconds:g} s (cluster.start_timeout)"
        if state == "pending":
            message += f": it could not be placed; the cluster has {free_resources()} free"
        if not group.ready():
            raise RunError(message)
        group.dismiss(worker)
        group.resize(len(group.workers))
        self.supervisor.say(f"{message}; the run continues with {len(group.workers)} {group.role} workers")

    def _recompute(self, handles: Sequence[Handle]) -> None:
        """Repeat the calls whose results were lost."""
        for call in {handle.call for handle in handles if isinstance(handle, Result) and handle.available}:
            try:
                ray.get(call.refs, timeout=self.cluster.call_timeout)
            except RayError:
                self.supervisor.say(f"the {call.role} results of {call.about} were lost with a node; recomputing them")
                self.retries[call.role] += 1
                call.refs = None
                self._enqueue(call)
