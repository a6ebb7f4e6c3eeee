"""One worker as a Ray actor, and what it is doing."""

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
    """What an actor is: the worker of one role. It is there before its models are, so that its place is known of."""

    def load(self, spec: WorkerSpec, threads: int) -> int:
        """Load the models; returns the number of this process."""
        self.worker = make_worker(spec, threads)
        return os.getpid()

    def begin(self) -> None:
        """Told before each call: that it was answered shows that the worker lived when the call came."""

    def call(self, method: str, results: int, *args: Any) -> tuple[Any, ...]:
        """The results of a method of the worker, and a receipt that can be had without them: seconds it took."""
        began = perf_counter()
        value = getattr(self.worker, method)(*args)
        return (*(value if results > 1 else (value,)), perf_counter() - began)


@dataclass(eq=False)
class Worker:
    """One actor and what it is doing."""

    role: str
    name: str
    actor: Any
    load: Callable[[Any], ray.ObjectRef]
    receipt: ray.ObjectRef  # there as soon as what it is doing is done
    state: str = "pending"  # then loading, then ready
    since: float = field(default_factory=monotonic)
    call: Call | None = None
    begun: ray.ObjectRef | None = None
    results: list[ray.ObjectRef] = field(default_factory=list)
    leaving: bool = False
    told: bool = False  # that it finds no place
    pid: int | None = None  # on its node
    placed: float = -inf

    def begin(self, call: Call, arguments: list[Any]) -> ray.ObjectRef:
        """Take a call; returns its receipt."""
        self.call, self.since = call, monotonic()
        self.begun = self.actor.begin.remote()
        options = self.actor.call.options(num_returns=call.results + 1)
        *self.results, self.receipt = options.remote(call.method, call.results, *arguments)
        return self.receipt

    def started(self) -> ray.ObjectRef | None:
        """It has got a place, or else its models: the receipt of what it does next, if anything."""
        self.since = monotonic()
        if self.state == "pending":
            self.placed = self.since
            self.state, self.receipt = "loading", self.load(self.actor)
            return self.receipt
        self.state = "ready"
        return None

    def abandon(self) -> Call | None:
        """The call it had, if any, which is its own no longer."""
        call, self.call, self.since = self.call, None, monotonic()
        return call

    def has_begun(self) -> bool:
        """Whether it was alive when its last call reached it."""
        try:
            ray.get(self.begun, timeout=0)
        except ray.exceptions.RayError:
            return False
        return True
