"""Peak memory of a benchmark's processes."""

import threading
from contextlib import suppress

import psutil

from cluster.pools.interface import Pools
from service.bench.compared_command import ComparedCommand

INTERVAL = 0.2
"""Seconds between two samples."""


class PeakMemory:
    """Peak memory by role and in total, in bytes, on this machine; pages shared by several processes count once."""

    def __init__(self, pools: Pools, other: ComparedCommand | None) -> None:
        self.pools, self.other, self.peaks, self._done = pools, other, {}, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling; further calls do nothing."""
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            found = self._now()
            found["all"] = sum(found.values())
            self.peaks = {role: max(self.peaks.get(role, 0), found.get(role, 0)) for role in {*self.peaks, *found}}
            if self._done.wait(INTERVAL):
                return

    def _now(self) -> dict[str, int]:
        roles, own, found = dict(self.pools.processes()), psutil.Process(), {}
        excluded = self.other.processes() if self.other else set()
        for process in {own, *own.children(recursive=True)} - excluded:
            role = roles.get(process.pid, "driver" if process.pid == own.pid else "ray")
            with suppress(psutil.Error):  # the process has ended
                found[role] = found.get(role, 0) + process.memory_full_info().pss
        return found
