"""One worker as a Ray actor, and its state as the driver sees it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic, perf_counter
from typing import Any

import ray

from cluster.pools.calls import Call
from cluster.pools.interface import WorkerSpec, make_worker


class WorkerActor:
    """The Ray actor that hosts a role's worker. It starts without models, to show that it has been placed."""

    def load(self, spec: WorkerSpec, threads: int) -> int:
        """Load the models; returns the process id."""
        self.worker = make_worker(spec, threads)
        return os.getpid()

    def ping(self) -> None:
        """Called before each call: an answer shows that the worker was alive when the call reached it."""

    def call(self, method: str, results: int, *args: Any) -> tuple[Any, ...]:
        """The method's results, and last a receipt that can be fetched without them: the seconds it took."""
        started = perf_counter()
        value = getattr(self.worker, method)(*args)
        return (*(value if results > 1 else (value,)), perf_counter() - started)


@dataclass(eq=False)
class Worker:
    """One actor and its state."""

    role: str
    name: str
    actor: Any
    load: Callable[[Any], ray.ObjectRef]
    receipt: ray.ObjectRef  # available once it has finished what it is doing
    state: str = "pending"  # then loading, then ready
    since: float = field(default_factory=monotonic)
    call: Call | None = None
    pinged: ray.ObjectRef | None = None
    results: list[ray.ObjectRef] = field(default_factory=list)
    leaving: bool = False  # after its call
    reported_pending: bool = False
    pid: int | None = None  # on its node
    placed_at: float = -inf

    def start_call(self, call: Call, arguments: list[Any]) -> ray.ObjectRef:
        """Send the call to the actor; returns its receipt."""
        self.call, self.since = call, monotonic()
        self.pinged = self.actor.ping.remote()
        options = self.actor.call.options(num_returns=call.results + 1)
        *self.results, self.receipt = options.remote(call.method, call.results, *arguments)
        return self.receipt

    def advance(self) -> ray.ObjectRef | None:
        """Go from pending to loading, and return its receipt; or from loading to ready, and return None."""
        self.since = monotonic()
        if self.state == "pending":
            self.placed_at = self.since
            self.state, self.receipt = "loading", self.load(self.actor)
            return self.receipt
        self.state = "ready"
        return None

    def release_call(self) -> Call | None:
        """Detach and return the current call, if any."""
        call, self.call, self.since = self.call, None, monotonic()
        return call

    def received_call(self) -> bool:
        """True if the worker was alive when its last call reached it."""
        try:
            ray.get(self.pinged, timeout=0)
        except ray.exceptions.RayError:
            return False
        return True
