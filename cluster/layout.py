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

    fewest: int  # also the number at the start
    most: int
    cpus: float
    gpus: float
    threads: int

    @property
    def device(self) -> str:
        """cuda if a GPU or a fraction of one is reserved; otherwise cpu, even on a machine with GPUs."""
        return "cuda" if self.gpus else "cpu"


Layout = Mapping[str, RoleLayout]
"""The resolved layout by role."""


@dataclass(frozen=True)
class LayoutRequest:
    """What the settings ask for, `auto` included."""

    workers: WorkersConfig
    resources: RoleResourcesConfig
    units: int  # per step; more workers of a role could never be busy at once
    roles: tuple[str, ...] = ROLES  # that have workers

    @classmethod
    def of(cls, config: Config) -> "LayoutRequest":
        """The request of a run."""
        return cls(config.workers, config.cluster.resources, -(-config.rollout.batch_size // config.rollout.unit_size))

    @classmethod
    def of_learners(cls, config: Config) -> "LayoutRequest":
        """The request of a run that learns from preferences: learners alone."""
        workers = config.workers.model_copy(update={"learner": config.dpo.workers})
        return cls(workers, config.cluster.resources, units=1, roles=("learner",))

    def setting(self, role: str) -> str:
        """The setting that holds the number of a role's workers."""
        return "dpo.workers" if self.roles == ("learner",) else f"workers.{role}"

    def of_role(self, role: str) -> ResourcesConfig:
        """Resources requested for each worker of a role."""
        return getattr(self.resources, role)


def resolve(request: LayoutRequest, machines: Sequence[Machine]) -> Layout:
    """The layout with a number for every `auto`."""
    cpus, gpus = (int(sum(getattr(m, kind) for m in machines)) for kind in ("cpus", "gpus"))
    spans = _spans(request, cpus, gpus)
    counts = {role: fewest for role, (fewest, _) in spans.items()}
    on_gpu = gpus and any(request.of_role(role).gpus == "auto" for role in request.roles)
    shares = _gpu_shares(counts, gpus) if on_gpu else dict.fromkeys(request.roles, 0)
    gpus_of = {r: shares[r] if request.of_role(r).gpus == "auto" else request.of_role(r).gpus for r in request.roles}
    per_thread = _cpus_per_thread(request, counts, gpus_of, machines)
    return {
        role: RoleLayout(
            *spans[role], _cpus(request.of_role(role), per_thread), gpus_of[role], request.of_role(role).threads
        )
        for role in request.roles
    }


def _cpus(resources: ResourcesConfig, per_thread: float) -> float:
    return resources.threads * per_thread if resources.cpus == "auto" else resources.cpus


def _spans(request: LayoutRequest, cpus: int, gpus: int) -> dict[str, tuple[int, int]]:
    """Fewest and most workers per role."""
    learners = request.workers.learner
    measuring = max(1, gpus // 8 if gpus else cpus // 4)  # reward workers, and as many reference workers
    sampling = max(1, gpus - learners - measuring if gpus else cpus)
    chosen = {"rollout": sampling, "reward": measuring, "reference": measuring}
    spans = {role: (min(request.units, count),) * 2 for role, count in chosen.items()} | {"learner": (learners,) * 2}
    requested = {role: getattr(request.workers, role) for role in request.roles}
    spans |= {role: span(count) for role, count in requested.items() if count != "auto"}
    return {role: spans[role] for role in request.roles}


def _gpu_shares(counts: Mapping[str, int], gpus: int) -> dict[str, float]:
    """GPUs per worker of each role. With enough GPUs, learners have their own, and reward and reference share one."""
    if len(counts) == 1:
        return {role: _even_share(gpus, workers) for role, workers in counts.items()}
    if gpus == 1:
        return dict.fromkeys(ROLES, _floor(1 / sum(counts.values())))
    measuring, learners = sum(counts[role] for role in MEASURING), counts["learner"]
    if gpus == 2:  # one for rollouts, one for everything else
        rest = _floor(1 / (learners + measuring))
        return {"rollout": _floor(1 / counts["rollout"]), **dict.fromkeys((*MEASURING, "learner"), rest)}
    for_measuring = max(1, gpus // 8)
    for_learning = min(learners, max(1, gpus - 1 - for_measuring))
    for_sampling = max(1, gpus - for_learning - for_measuring)
    return {
        "rollout": _even_share(for_sampling, counts["rollout"]),
        **dict.fromkeys(MEASURING, _even_share(for_measuring, measuring)),
        "learner": _even_share(for_learning, learners),
    }


def _even_share(gpus: int, workers: int) -> float:
    """GPUs per worker; no GPU is split between more workers than necessary."""
    return 1 if workers <= gpus else _floor(1 / -(-workers // gpus))


def _floor(share: float) -> float:
    """The share rounded down to ten-thousandths, the finest that Ray counts in."""
    return int(share * 10_000) / 10_000


def _cpus_per_thread(
    request: LayoutRequest, counts: Mapping[str, int], gpus: Mapping[str, float], machines: Sequence[Machine]
) -> float:
    """The largest of 1, 1/2, 1/3 ... CPUs per thread with which all workers can be placed.

    On a single machine, where CPU shares do not decide placement, three quarters are left for workers added later, if
    possible.
    """
    threads = sum(request.of_role(r).threads * counts[r] for r in counts if request.of_role(r).cpus == "auto")
    quarter = [replace(machine, cpus=machine.cpus / 4) for machine in machines if len(machines) == 1]
    for among in (quarter, machines):
        for per_thread in (_floor(1 / k) for k in range(1, 1 + 8 * max(1, threads))):
            needs = {role: (_cpus(request.of_role(role), per_thread), gpus[role]) for role in counts}
            if fits([needs[role] for role in counts for _ in range(counts[role])], among):
                return per_thread
    if any(gpus.values()):  # a lack of GPUs must not look like a lack of CPUs
        return _cpus_per_thread(request, counts, dict.fromkeys(counts, 0), machines)
    return 1.0  # nothing fits, which check_fit reports


def demand(layout: Layout) -> list[tuple[float, float]]:
    """CPUs and GPUs of each worker that a run starts with."""
    return [(each.cpus, each.gpus) for each in layout.values() for _ in range(each.fewest)]


def describe(layout: Layout) -> str:
    """The layout in one line."""
    return ", ".join(_describe(role, layout[role]) for role in layout)


def _describe(role: str, each: RoleLayout) -> str:
    number = f"{each.fewest}" if each.fewest == each.most else f"{each.fewest} to {each.most}"
    gpus = f", {each.gpus:g} GPU" if each.gpus else ""
    return f"{number} {role} ({each.cpus:.2g} CPU{gpus})"
