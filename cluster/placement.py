"""Placement of workers on machines."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Machine:
    """Resources of one node of the cluster."""

    cpus: float
    gpus: float = 0
    memory: float = math.inf  # free bytes

    @classmethod
    def here(cls) -> "Machine":
        """This machine, as far as this process may use it."""
        import torch  # imported here, since it takes seconds and worker actors import this module without needing it

        return cls(len(os.sched_getaffinity(0)), torch.cuda.device_count(), psutil.virtual_memory().available)


def fits(needs: Sequence[tuple[float, float]], machines: Sequence[Machine]) -> bool:
    """True if workers that each need (CPUs, GPUs) can all be placed: largest first, on the first machine with room.

    A fraction of a GPU is a fraction of one GPU, as Ray allocates it.
    """
    free = [(_Free(m.cpus), [_Free(1) for _ in range(int(m.gpus))]) for m in machines]
    ordered = sorted(needs, key=lambda need: (need[1], need[0]), reverse=True)
    return all(any(_place(cpus, gpus, *node) for node in free) for cpus, gpus in ordered)


def total(machines: Sequence[Machine]) -> str:
    """CPUs and GPUs of the machines, for messages."""
    return " + ".join(f"{m.cpus:g} CPU, {m.gpus:g} GPU" for m in machines) or "nothing"


@dataclass
class _Free:
    """Unreserved CPUs of a machine, or unreserved share of one GPU."""

    amount: float

    def has(self, amount: float) -> bool:
        return self.amount >= amount - 1e-6


def _place(cpus: float, gpus: float, node: _Free, devices: list[_Free]) -> bool:
    """Reserve resources on a machine; returns False if it has too few."""
    part = min(gpus, 1)
    chosen = [device for device in devices if part and device.has(part)][: max(1, int(gpus))]
    if not node.has(cpus) or (gpus and len(chosen) < gpus):
        return False
    for free, amount in [(node, cpus), *((device, part) for device in chosen)]:
        free.amount -= amount
    return True
