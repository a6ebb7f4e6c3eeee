"""Who gets how much: `auto` settled for the machines at hand, and what does not fit told with what would."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil

from configs.cluster import span
from configs.errors import UsageError
from configs.schema import Config

ROLES = ("rollout", "reward", "reference", "learner")
MEASURING = ("reward", "reference")


@dataclass(frozen=True)
class Machine:
    """What one node of the cluster has."""

    cpus: float
    gpus: float = 0
    memory: float = math.inf  # bytes free

    @classmethod
    def here(cls) -> "Machine":
        """This one, as a process sees it."""
        import torch  # seconds that an actor can save, which only reads shapes of plans

        return cls(len(os.sched_getaffinity(0)), torch.cuda.device_count(), psutil.virtual_memory().available)


def workers_of(config: Config, role: str) -> tuple[int, int]:
    """Fewest and most workers of a role of a resolved config; it starts with the fewest."""
    return span(getattr(config.workers, role))


def resolve(config: Config, machines: Sequence[Machine]) -> Config:
    """The config with a number for every `auto`; one without any comes back as it is."""
    cpus, gpus = (sum(getattr(m, kind) for m in machines) for kind in ("cpus", "gpus"))
    counts = _counts(config, int(cpus), int(gpus))
    on_gpu = gpus and any(getattr(config.cluster.resources, role).gpus == "auto" for role in ROLES)
    shares = _gpu_shares(counts, int(gpus)) if on_gpu else dict.fromkeys(ROLES, 0)
    resources = {role: getattr(config.cluster.resources, role) for role in ROLES}
    gpus_of = {role: shares[role] if needs.gpus == "auto" else needs.gpus for role, needs in resources.items()}
    part = _cpu_part(resources, counts, gpus_of, machines)
    settled = {
        role: needs.model_copy(
            update={
                "cpus": needs.threads * part if needs.cpus == "auto" else needs.cpus,
                "gpus": gpus_of[role],
            }
        )
        for role, needs in resources.items()
    }
    workers = {r: counts[r] for r in ROLES if getattr(config.workers, r) == "auto"}
    return _with(config, workers, settled)


def _with(config: Config, workers: Mapping[str, Any], resources: Mapping[str, Any]) -> Config:
    cluster = config.cluster
    resources = cluster.resources.model_copy(update=dict(resources))
    return config.model_copy(
        update={
            "workers": config.workers.model_copy(update=dict(workers)),
            "cluster": cluster.model_copy(update={"resources": resources}),
        }
    )


def _counts(config: Config, cpus: int, gpus: int) -> dict[str, int]:
    """Workers per role. More of a role than a step has units would never work at the same time."""
    units = -(-config.rollout.batch_size // config.rollout.unit_size)
    beside = max(1, gpus // 8 if gpus else cpus // 4)  # of reward and of reference workers
    sampling = max(1, gpus - config.workers.learner - beside if gpus else cpus)
    chosen = {"rollout": sampling, "reward": beside, "reference": beside}
    counts = {role: min(units, count) for role, count in chosen.items()} | {"learner": config.workers.learner}
    return counts | {r: workers_of(config, r)[0] for r in ROLES if getattr(config.workers, r) != "auto"}


def _gpu_shares(counts: Mapping[str, int], gpus: int) -> dict[str, float]:
    """GPUs of a worker of each role: the learners' own and a shared one for what measures, where there are enough."""
    if gpus == 1:
        return dict.fromkeys(ROLES, _floor(1 / sum(counts.values())))
    measuring, learners = sum(counts[role] for role in MEASURING), counts["learner"]
    if gpus == 2:  # one to sample on, one for all the rest
        rest = _floor(1 / (learners + measuring))
        return {"rollout": _floor(1 / counts["rollout"]), **dict.fromkeys((*MEASURING, "learner"), rest)}
    beside = max(1, gpus // 8)
    learning = min(learners, max(1, gpus - 1 - beside))
    sampling = max(1, gpus - learning - beside)
    return {
        "rollout": _whole(sampling, counts["rollout"]),
        **dict.fromkeys(MEASURING, _whole(beside, measuring)),
        "learner": _whole(learning, learners),
    }


def _whole(gpus: int, workers: int) -> float:
    """A worker's share of `gpus`, of which none is split between more workers than it must be."""
    return 1 if workers <= gpus else _floor(1 / -(-workers // gpus))


def _floor(share: float) -> float:
    """Ray counts in ten-thousandths."""
    return int(share * 10_000) / 10_000


def _cpu_part(
    resources: Mapping[str, Any], counts: Mapping[str, int], gpus: Mapping[str, float], machines: Sequence[Machine]
) -> float:
    """The largest of 1, 1/2, 1/3 ... of a CPU per thread with which all workers find a place.

    On a single machine, where the share says nothing of who works where, most is left for workers that come later,
    if that can be.
    """
    auto = [role for role in ROLES if resources[role].cpus == "auto"]
    threads = sum(resources[role].threads * counts[role] for role in auto)
    roomy = [replace(machine, cpus=machine.cpus / 4) for machine in machines if len(machines) == 1]
    for among in (roomy, machines):
        for part in (_floor(1 / k) for k in range(1, 1 + 8 * max(1, threads))):
            cpus = {role: resources[role].threads * part if role in auto else resources[role].cpus for role in ROLES}
            if fits([(cpus[role], gpus[role]) for role in ROLES for _ in range(counts[role])], among):
                return part
    if any(gpus.values()):  # GPUs that are not there must not make it look as if CPUs were missing
        return _cpu_part(resources, counts, dict.fromkeys(ROLES, 0), machines)
    return 1.0  # it fits in no way, which check_fit tells


def demand(config: Config) -> Iterator[tuple[float, float]]:
    """CPUs and GPUs of each worker that a resolved config starts with."""
    for role in ROLES:
        needs = getattr(config.cluster.resources, role)
        yield from [(needs.cpus, needs.gpus)] * workers_of(config, role)[0]


def fits(needs: Sequence[tuple[float, float]], machines: Sequence[Machine]) -> bool:
    """Whether all find a place, the largest first, each on the first machine with room.

    A part of a GPU is a part of one GPU, as Ray gives it.
    """
    free = [(_Free(m.cpus), [_Free(1) for _ in range(int(m.gpus))]) for m in machines]
    ordered = sorted(needs, key=lambda need: (need[1], need[0]), reverse=True)
    return all(any(_place(cpus, gpus, *node) for node in free) for cpus, gpus in ordered)


@dataclass
class _Free:
    """What is left of a machine's CPUs, or of one GPU."""

    amount: float

    def has(self, amount: float) -> bool:
        return self.amount >= amount - 1e-6


def _place(cpus: float, gpus: float, node: _Free, devices: list[_Free]) -> bool:
    """Take the room on a machine, if it is there."""
    part = min(gpus, 1)
    chosen = [device for device in devices if part and device.has(part)][: max(1, int(gpus))]
    if not node.has(cpus) or (gpus and len(chosen) < gpus):
        return False
    for free, amount in [(node, cpus), *((device, part) for device in chosen)]:
        free.amount -= amount
    return True


def check_fit(config: Config, machines: Sequence[Machine]) -> Config:
    """The resolved config. Raises `UsageError` where its workers do not all find a place, with a plan that fits."""
    resolved = resolve(config, machines)
    if _fits(resolved, machines):
        return resolved
    has = " + ".join(f"{m.cpus:g} CPU, {m.gpus:g} GPU" for m in machines) or "nothing"
    raise UsageError(
        f"cluster: the run asks for {_asked(resolved, 'cpus')} and {_asked(resolved, 'gpus')}, the cluster "
        f"has {has}; this would fit: {_smaller(config, machines)}"
    )


def _fits(resolved: Config, machines: Sequence[Machine]) -> bool:
    return fits(list(demand(resolved)), machines)


def _asked(config: Config, kind: str) -> str:
    amounts = {role: getattr(getattr(config.cluster.resources, role), kind) for role in ROLES}
    numbers = {role: workers_of(config, role)[0] for role in ROLES}
    listed = ", ".join(f"{role} {numbers[role]} x {amount:.2g}" for role, amount in amounts.items())
    whole = sum(numbers[role] * amount for role, amount in amounts.items())
    return f"{whole:.3g} {kind.upper().removesuffix('S')} ({listed})"


def _smaller(config: Config, machines: Sequence[Machine]) -> str:
    """Settings with which it fits: fewer workers; where one of each is too many still, shares left to auto."""
    counts = {role: workers_of(resolve(config, machines), role)[0] for role in ROLES}
    while max(counts.values()) > 1:
        counts[max(counts, key=counts.__getitem__)] -= 1
        if _fits(resolve(_with(config, counts, {}), machines), machines):
            return " ".join(f"--workers.{role} {count}" for role, count in counts.items())
    settings = {f"--workers.{role}": "1" for role in ROLES}
    for kind in ("gpus", "cpus"):
        settings |= {f"--cluster.resources.{role}.{kind}": "auto" for role in ROLES}
        shares = {role: getattr(config.cluster.resources, role).model_copy(update={kind: "auto"}) for role in ROLES}
        config = _with(config, counts, shares)
        if _fits(resolve(config, machines), machines):
            break
    return " ".join(f"{name} {value}" for name, value in settings.items())


def describe(config: Config) -> str:
    """The layout of a resolved config in one line."""
    return ", ".join(_describe(config, role) for role in ROLES)


def _describe(config: Config, role: str) -> str:
    needs = getattr(config.cluster.resources, role)
    fewest, most = workers_of(config, role)
    number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    gpus = f", {needs.gpus:g} GPU" if needs.gpus else ""
    return f"{number} {role} ({needs.cpus:.2g} CPU{gpus})"
