"""The loop of learning from preferences: one optimizer step after another, on the pool of learners."""

from collections import deque
from collections.abc import Iterable, Iterator
from time import perf_counter

import torch
from torch import Tensor

from cluster.driver import BOUNDS, Bounds, Start, StepReport, check_shapes
from cluster.pools.interface import Handle, Pools
from cluster.preferences.plan import PreferencePlan
from configs.dpo import KTO, AnyPreferenceLoss, DpoConfig
from configs.errors import RunError
from learner.preferences.unit import HELD_OUT, PreferenceUnit
from learner.types import PolicyState, TrainState


class References:
    """The reference's log-probabilities of examples by their place in the plan; zeros for losses without one."""

    def __init__(self, needed: bool) -> None:
        self.needed = needed
        self._known: dict[tuple[bool, int], Tensor] = {}

    def add(self, unit: PreferenceUnit, logprobs: Tensor) -> None:
        """Keep those of a unit, [B, 2]."""
        self._known |= {(unit.step == HELD_OUT, row): pair for row, pair in zip(unit.rows, logprobs, strict=True)}

    def of(self, unit: PreferenceUnit) -> Tensor:
        """Those of a unit, [B, 2]."""
        if not self.needed:
            return torch.zeros(len(unit.rows), 2)
        return torch.stack([self._known[unit.step == HELD_OUT, row] for row in unit.rows])


def start(pools: Pools, resumed: TrainState | None = None) -> Start:
    """The state before the first step, `resumed` if given. Raises `UsageError` if its adapter has another shape."""
    policy, learner = pools.learner.submit("initial_state", results=2, about="the initial state")
    policy, learner, model = pools.get([policy, learner, pools.learner.submit("describe", about="the model")])
    if resumed:
        check_shapes(resumed.policy, policy)
    return Start(policy, resumed or TrainState(policy, learner, policy), model)


def reference_logprobs(
    units: Iterable[PreferenceUnit], pools: Pools, reference: PolicyState
) -> Iterator[tuple[PreferenceUnit, Tensor]]:
    """Each unit, in order, with the reference's log-probabilities of its completions, [B, 2]."""
    frozen, pending = pools.put(reference), deque[tuple[PreferenceUnit, Handle]]()
    for unit in units:
        pending.append((unit, pools.learner.submit("logprobs", frozen, unit, about=unit.name)))
        if len(pending) >= pools.ahead:
            yield _fetched(pools, *pending.popleft())
    while pending:
        yield _fetched(pools, *pending.popleft())


def _fetched(pools: Pools, unit: PreferenceUnit, handle: Handle) -> tuple[PreferenceUnit, Tensor]:
    return unit, pools.get([handle])[0]


def learn(
    config: DpoConfig, plan: PreferencePlan, pools: Pools, initial: Start, references: References
) -> Iterator[StepReport]:
    """Run the remaining steps; every so many, and after the last, measure the held-out examples too."""
    state, every = initial.state, -(-plan.steps // config.evals)
    for step in range(state.version, plan.steps):
        began, retries, busy = perf_counter(), pools.retries["learner"], pools.busy["learner"]
        policy, learner = pools.put(state.policy), pools.put(state.learner)
        units = plan.units(step)
        gradients = _each("gradient", units, config.loss, pools, policy, references)
        about = f"step {step}"
        *states, metrics = pools.get(pools.learner.submit("apply", policy, learner, *gradients, results=3, about=about))
        state = TrainState(*states, sampler=states[0])
        if step == 0:
            check_start(metrics, BOUNDS[initial.model["dtype"]])
        seconds = perf_counter() - began
        metrics |= {"time/step": seconds, "time/tokens_per_second": metrics["tokens/completions"] / seconds}
        if (step + 1) % every == 0 or step + 1 == plan.steps:
            metrics |= held_out(plan, config.loss, pools, state.policy, references)
        metrics["time/learner"] = pools.busy["learner"] - busy
        metrics["retries/learner"] = pools.retries["learner"] - retries
        yield StepReport(step, metrics, state)


def held_out(
    plan: PreferencePlan, loss: AnyPreferenceLoss, pools: Pools, state: PolicyState, references: References
) -> dict[str, float]:
    """Metrics of the held-out examples; none if there are none."""
    if not (units := plan.held_out_units()):
        return {}
    measured = _each("measure", units, loss, pools, pools.put(state), references)
    [metrics] = pools.get([pools.learner.submit("summarise", *measured, about="held-out pairs")])
    return {f"held_out/{name}": value for name, value in metrics.items() if not name.startswith("tokens/")}


def _each(
    method: str,
    units: list[PreferenceUnit],
    loss: AnyPreferenceLoss,
    pools: Pools,
    policy: Handle,
    references: References,
) -> list[Handle]:
    """The method's result for each unit of a batch, in order; KTO looks at all of them first."""
    divergence: Handle = torch.zeros(())
    if isinstance(loss, KTO):
        logprobs = [pools.learner.submit("logprobs", policy, unit, about=unit.name) for unit in units]
        both = [x for found, unit in zip(logprobs, units, strict=True) for x in (found, references.of(unit))]
        divergence = pools.learner.submit("divergence", *both, about=units[0].name)
    return [
        pools.learner.submit(method, policy, unit, references.of(unit), divergence, about=unit.name) for unit in units
    ]


def check_start(metrics: dict[str, float], bounds: Bounds) -> None:
    """Raises `RunError` if implicit rewards are not 0 before the first update, where the policy is its reference."""
    gap = metrics.get("objective/logprob_gap", 0.0)
    if not gap <= bounds.logprob_gap:  # so that NaN fails too
        raise RunError(
            f"the policy differs from its reference before the first update: log-probabilities by {gap:.3g} per token"
        )
