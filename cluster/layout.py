"""Resource layout: resolves `auto` for the machines of the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.placement import Machine, fits
from configs.cluster import ResourcesConfig, RoleResourcesConfig, WorkersConfig, span
from configs.schema import Config

ROLES = ("rollout", "reward", "reference", "learner")
MEASURING = ("reward", "reference")


@dataclass(frozen=True)
class RoleLayout:
    """Number of workers of one role, and the resources of each."""

    fewest: int  # it starts with these
    most: int
    cpus: float
    gpus: float
    threads: int

    @property
    def device(self) -> str:
        """The GPU where one, or a fraction of one, is reserved; else the CPU, whatever the machine has."""
        return "cuda" if self.gpus else "cpu"


Layout = Mapping[str, RoleLayout]
"""The resolved layout by role."""


@dataclass(frozen=True)
class LayoutRequest:
    """What the settings ask for, `auto` included."""

    workers: WorkersConfig
    resources: RoleResourcesConfig
    units: int  # of work in a step: more workers of a role would never work at the same time

    @classmethod
    def of(cls, config: Config) -> "LayoutRequest":
        """The request of a run."""
        return cls(config.workers, config.cluster.resources, -(-config.rollout.batch_size // config.rollout.unit_size))

    def of_role(self, role: str) -> ResourcesConfig:
        """Resources asked for by a role."""
        return getattr(self.resources, role)


def resolve(request: LayoutRequest, machines: Sequence[Machine]) -> Layout:
    """The layout with a number for every `auto`."""
    cpus, gpus = (int(sum(getattr(m, kind) for m in machines)) for kind in ("cpus", "gpus"))
    spans = _spans(request, cpus, gpus)
    counts = {role: fewest for role, (fewest, _) in spans.items()}
    on_gpu = gpus and any(request.of_role(role).gpus == "auto" for role in ROLES)
    shares = _gpu_shares(counts, gpus) if on_gpu else dict.fromkeys(ROLES, 0)
    gpus_of = {r: shares[r] if request.of_role(r).gpus == "auto" else request.of_role(r).gpus for r in ROLES}
    part = _cpu_part(request, counts, gpus_of, machines)
    return {
        role: RoleLayout(*spans[role], _cpus(request.of_role(role), part), gpus_of[role], request.of_role(role).threads)
        for role in ROLES
    }


def _cpus(resources: ResourcesConfig, part: float) -> float:
    return resources.threads * part if resources.cpus == "auto" else resources.cpus


def _spans(request: LayoutRequest, cpus: int, gpus: int) -> dict[str, tuple[int, int]]:
    """Fewest and most workers per role."""
    learners = request.workers.learner
    beside = max(1, gpus // 8 if gpus else cpus // 4)  # of reward and of reference workers
    sampling = max(1, gpus - learners - beside if gpus else cpus)
    chosen = {"rollout": sampling, "reward": beside, "reference": beside}
    spans = {role: (min(request.units, count),) * 2 for role, count in chosen.items()} | {"learner": (learners,) * 2}
    asked = {role: getattr(request.workers, role) for role in ROLES}
    return spans | {role: span(count) for role, count in asked.items() if count != "auto"}


def _gpu_shares(counts: Mapping[str, int], gpus: int) -> dict[str, float]:
    """GPUs per worker of each role: learners get their own, reward and reference share one, where there are enough."""
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
    """A worker's share of `gpus`, none of which is split between more workers than necessary."""
    return 1 if workers <= gpus else _floor(1 / -(-workers // gpus))


def _floor(share: float) -> float:
    """Ray counts in ten-thousandths."""
    return int(share * 10_000) / 10_000


def _cpu_part(
    request: LayoutRequest, counts: Mapping[str, int], gpus: Mapping[str, float], machines: Sequence[Machine]
) -> float:
    """The largest of 1, 1/2, 1/3 ... of a CPU per thread with which all workers can be placed.

    On a single machine, where CPU shares do not decide placement, most is left for workers added later, if possible.
    """
    threads = sum(request.of_role(r).threads * counts[r] for r in ROLES if request.of_role(r).cpus == "auto")
    quarter = [replace(machine, cpus=machine.cpus / 4) for machine in machines if len(machines) == 1]
    for among in (quarter, machines):
        for part in (_floor(1 / k) for k in range(1, 1 + 8 * max(1, threads))):
            needs = {role: (_cpus(request.of_role(role), part), gpus[role]) for role in ROLES}
            if fits([needs[role] for role in ROLES for _ in range(counts[role])], among):
                return part
    if any(gpus.values()):  # missing GPUs must not make it look as if CPUs were missing
        return _cpu_part(request, counts, dict.fromkeys(ROLES, 0), machines)
    return 1.0  # nothing fits, which check_fit reports


def demand(layout: Layout) -> list[tuple[float, float]]:
    """CPUs and GPUs of each worker that a run starts with."""
    return [(each.cpus, each.gpus) for each in layout.values() for _ in range(each.fewest)]


def describe(layout: Layout) -> str:
    """The layout in one line."""
    return ", ".join(_describe(role, layout[role]) for role in ROLES)


def _describe(role: str, each: RoleLayout) -> str:
    number = f"{each.fewest}" if each.fewest == each.most else f"{each.fewest} to {each.most}"
    gpus = f", {each.gpus:g} GPU" if each.gpus else ""
    return f"{number} {role} ({each.cpus:.2g} CPU{gpus})"
