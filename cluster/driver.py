"""The driver: one loop that hands results from pool to pool.

It moves handles only; of tensors it holds one thing, the state that the last step made, which a run is resumed from.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from cluster.layout import ROLES
from cluster.plan import Plan
from cluster.pools.interface import Handle, Pools
from configs.errors import RunError, UsageError
from configs.schema import Config
from learner.types import PolicyState, TrainState, WorkUnit
from learner.update import minibatch_keys, run_update

MAX_FIRST_KL = 1e-3
"""KL (k3) per completion, in nats, that the policy may have to itself at step 0: rounding."""
MAX_FIRST_RATIO_GAP = 0.05
"""Mean distance of a token's ratio from 1 before anything changed: bfloat16's rounding in batches of another shape."""
MAX_LOGPROB_GAP = 0.1
"""Mean gap per token between the log-probability recorded while decoding and the teacher-forced one: rounding."""


@dataclass(frozen=True)
class Start:
    """What stands before the first step."""

    reference: PolicyState  # version 0
    state: TrainState
    model: dict[str, Any]  # parameter counts, type and fingerprint


@dataclass(frozen=True)
class StepReport:
    """One finished step."""

    step: int
    metrics: dict[str, float]
    state: TrainState  # that the step made


def start(pools: Pools, resumed: TrainState | None = None) -> Start:
    """Make version 0, and have the judges probed. Raises `UsageError` where one takes bad for good."""
    policy, learner = pools.learner.submit("initial_state", results=2, about="the first state")
    model = pools.learner.submit("describe", about="the model")
    probe = pools.reward.submit("probe", about="the probe")
    policy, learner, model, _ = pools.get([policy, learner, model, probe])
    if resumed:
        check_shapes(resumed.policy, policy)
    return Start(policy, resumed or TrainState(policy, learner, policy), model)


def check_shapes(resumed: PolicyState, policy: PolicyState) -> None:
    """Raises `UsageError` where a run goes on with another shape of adapter than it has."""
    before, now = ({name: t.shape for name, t in state.adapter.items()} for state in (resumed, policy))
    if before != now:
        other = min(set(before.items()) ^ set(now.items()))[0]
        raise UsageError(
            f"policy.lora, policy.adapter: not the shape of adapter that the run began with ({other}); leave them as "
            f"they were, or start a new run"
        )


def train(config: Config, plan: Plan, pools: Pools, begin: Start) -> Iterator[StepReport]:
    """Run the steps that are left, each on the policy that the one before made, or with run_ahead the one before it."""
    state, reference = begin.state, pools.put(begin.reference)
    ahead: list[Handle] = []
    for step in range(state.version, config.steps):
        began, lost, busy = perf_counter(), dict(pools.retries), dict(pools.busy)
        # Objects of the driver's own, so that no worker and no node can take them with it.
        policy, learner = pools.put(state.policy), pools.put(state.learner)
        sampler = pools.put(state.sampler) if config.run_ahead else policy
        experience = ahead or sample(plan, step, pools, sampler, reference)
        updated = update(config, step, pools, policy, learner, experience)
        ahead = sample(plan, step + 1, pools, policy, reference) if config.run_ahead and step + 1 < config.steps else []
        *states, metrics = pools.get(updated)
        state = TrainState(*states, sampler=state.policy if config.run_ahead else states[0])
        check(step, metrics)
        seconds = perf_counter() - began
        metrics |= {"time/step": seconds, "time/tokens_per_second": metrics["tokens/completions"] / seconds}
        metrics |= {f"time/{role}": pools.busy[role] - busy.get(role, 0.0) for role in ROLES}
        metrics |= {f"retries/{role}": pools.retries[role] - lost.get(role, 0) for role in ROLES}
        yield StepReport(step, metrics, state)


def sample(plan: Plan, step: int, pools: Pools, policy: Handle, reference: Handle) -> list[Handle]:
    """What an update learns from: rollouts, old pass, scores and reference log-probabilities of each unit in turn."""
    experience: list[Handle] = []
    for unit in plan.units(step):
        rollouts, old = pools.rollout.submit("generate", unit, policy, results=2, about=unit.name)
        scores = pools.reward.submit("score", rollouts, about=unit.name)
        logprobs = pools.reference.submit("logprobs", rollouts, reference, about=unit.name)
        # The learner joins them: a handle inside a list or another object would not be followed.
        experience += [rollouts, old, scores, logprobs]
    return experience


def update(
    config: Config, step: int, pools: Pools, policy: Handle, learner: Handle, experience: list[Handle]
) -> list[Handle]:
    """The states and metrics that a step makes: by one learner in one call, or shared out among several."""
    call = partial(pools.learner.submit, about=f"step {step}")
    if pools.learner.workers == 1:
        return call("update", policy, learner, *experience, results=3)
    keys = minibatch_keys(config.algorithm, config.rollout.batch_size)
    return run_update(call, keys, policy, learner, experience)


def check(step: int, metrics: dict[str, float]) -> None:
    """What must hold for the numbers to mean anything. Raises `RunError` where it does not."""
    # Written so that a number that is not one does not pass.
    if step == 0 and not metrics["objective/kl_k3"] <= MAX_FIRST_KL:
        kl = metrics["objective/kl_k3"]
        raise RunError(f"the policy differs from its reference before the first update: KL {kl:.3g}")
    gap = metrics.get("policy/first_ratio_gap", 0.0)
    if not metrics.get("rollout/staleness") and not gap <= MAX_FIRST_RATIO_GAP:
        raise RunError(
            f"step {step}: rollouts do not come from the learner's policy: before the first update, ratios are "
            f"{gap:.3g} from 1"
        )
    if not metrics["rollout/logprob_gap"] <= MAX_LOGPROB_GAP:
        raise RunError(
            f"step {step}: completions were not sampled from the policy that recalled them: log-probabilities are "
            f"{metrics['rollout/logprob_gap']:.3g} apart on average"
        )


def judge(
    units: Iterable[WorkUnit], pools: Pools, policy: PolicyState, reference: PolicyState
) -> Iterator[tuple[WorkUnit, list[dict[str, Any]]]]:
    """Each unit with the figures of its completions by `policy`, KL from `reference` among them, in their order."""
    policy, reference = pools.put(policy), pools.put(reference)
    waiting: deque[tuple[WorkUnit, Handle, Handle]] = deque()
    for unit in units:
        about = f"held-out {unit.name}"
        rollouts = pools.rollout.submit("summarize", unit, policy, about=about)
        verdicts = pools.reward.submit("judge", rollouts, about=about)
        waiting.append((unit, verdicts, pools.reference.submit("divergence", rollouts, reference, about=about)))
        if len(waiting) >= pools.ahead:
            yield _judged(pools, *waiting.popleft())
    while waiting:
        yield _judged(pools, *waiting.popleft())


def _judged(
    pools: Pools, unit: WorkUnit, verdicts: Handle, divergence: Handle
) -> tuple[WorkUnit, list[dict[str, Any]]]:
    rows, kl = pools.get([verdicts, divergence])
    return unit, [{**row, **{name: column[i] for name, column in kl.items()}} for i, row in enumerate(rows)]
