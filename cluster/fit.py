"""Checks that a layout fits the cluster, and otherwise suggests settings that do."""

from collections.abc import Sequence
from dataclasses import replace

from cluster.layout import Layout, LayoutRequest, demand, resolve
from cluster.placement import Machine, fits, total
from configs.errors import UsageError


def check_fit(request: LayoutRequest, machines: Sequence[Machine]) -> Layout:
    """The resolved layout. Raises `UsageError`, suggesting settings that fit, if its workers cannot all be placed."""
    layout = resolve(request, machines)
    if _fits(layout, machines):
        return layout
    raise UsageError(
        f"cluster: the run needs {_needed(layout, 'cpus')} and {_needed(layout, 'gpus')}, the cluster "
        f"has {total(machines)}; this would fit: {_suggest(request, machines)}"
    )


def _fits(layout: Layout, machines: Sequence[Machine]) -> bool:
    return fits(demand(layout), machines)


def _needed(layout: Layout, kind: str) -> str:
    amounts = {role: getattr(layout[role], kind) for role in layout}
    listed = ", ".join(f"{role} {layout[role].fewest} x {amount:.2g}" for role, amount in amounts.items())
    overall = sum(layout[role].fewest * amount for role, amount in amounts.items())
    return f"{overall:.3g} {kind.upper().removesuffix('S')} ({listed})"


def _suggest(request: LayoutRequest, machines: Sequence[Machine]) -> str:
    """Settings that fit: fewer workers; if one per role is still too many, resources left to `auto`."""
    counts = {role: each.fewest for role, each in resolve(request, machines).items()}
    while max(counts.values()) > 1:
        counts[max(counts, key=counts.__getitem__)] -= 1
        smaller = replace(request, workers=request.workers.model_copy(update=counts))
        if _fits(resolve(smaller, machines), machines):
            return " ".join(f"--{request.setting(role)} {count}" for role, count in counts.items())
    request = replace(request, workers=request.workers.model_copy(update=counts))
    settings = {f"--{request.setting(role)}": "1" for role in request.roles}
    for kind in ("gpus", "cpus"):
        settings |= {f"--cluster.resources.{role}.{kind}": "auto" for role in request.roles}
        shares = {role: request.of_role(role).model_copy(update={kind: "auto"}) for role in request.roles}
        request = replace(request, resources=request.resources.model_copy(update=shares))
        if _fits(resolve(request, machines), machines):
            break
    return " ".join(f"{name} {value}" for name, value in settings.items())
