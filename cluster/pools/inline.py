"""Pools in this process: for tests, for debugging, and to measure Ray's overhead."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from cluster.layout import Layout
from cluster.pools.interface import Pools, WorkerSpec, make_worker, set_threads
from configs.errors import RunError, UsageError


class InlinePool:
    """One worker in this process; a handle is the value itself."""

    workers = 1

    def __init__(self, role: str, worker: Any, threads: int, busy: Counter[str]) -> None:
        self.role, self.worker, self.threads, self.busy = role, worker, threads, busy

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        """Call the method at once, in this process."""
        set_threads(self.threads)
        started = perf_counter()
        with _worker_errors(f"on {about}"):
            value = getattr(self.worker, method)(*args)
        self.busy[self.role] += perf_counter() - started
        return list(value) if results > 1 else value


@contextmanager
def _worker_errors(doing: str) -> Iterator[None]:
    """Turn errors of a worker into those that Ray pools raise."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise RunError(f"a worker failed {doing}: {type(error).__name__}: {error}") from error


def inline_pools(specs: Mapping[str, WorkerSpec], layout: Layout) -> Pools:
    """One worker per role."""
    workers, busy = {}, Counter[str]()
    for role, spec in specs.items():
        threads = layout[role].threads
        with _worker_errors(f"while starting as {role}"):
            workers[role] = InlinePool(role, make_worker(spec, threads), threads, busy)
    return Pools(workers, get=list, put=lambda value: value, busy=busy)
