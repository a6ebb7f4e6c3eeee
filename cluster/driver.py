"""The driver: the training loop, which passes results from pool to pool.

It passes handles only. The one set of tensors it holds is the state after the last step, from which a run is resumed.
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
from cluster.reward_schedule import RewardSchedule, answer_requests
from configs.errors import RunError, UsageError
from configs.rewards import RewardConfig
from configs.schema import Config
from learner.types import PolicyState, TrainState, WorkUnit
from learner.update import minibatch_keys, run_update


@dataclass(frozen=True)
class Bounds:
    """What rounding may cause where two numbers should be the same; larger gaps are errors. In nats."""

    first_kl: float  # KL (k3) per completion between the policy and its reference at step 0
    first_ratio_gap: float  # mean distance of ratios from 1 before the first update, made in other batch shapes
    logprob_gap: float  # mean per token, recorded while decoding against teacher-forced


BOUNDS = {
    "float32": Bounds(first_kl=1e-4, first_ratio_gap=1e-3, logprob_gap=1e-3),
    "bfloat16": Bounds(first_kl=1e-3, first_ratio_gap=0.05, logprob_gap=0.1),
}
"""By data type of the frozen weights."""


@dataclass(frozen=True)
class Start:
    """The state before the first step."""

    reference: PolicyState  # version 0
    state: TrainState
    model: dict[str, Any]  # parameter counts, type and fingerprint


@dataclass(frozen=True)
class StepReport:
    """One finished step."""

    step: int
    metrics: dict[str, float]
    state: TrainState  # after the step


def start(pools: Pools, resumed: TrainState | None = None) -> Start:
    """The state before the first step (`resumed` if given), after a reward worker has checked the probe.

    Raises `UsageError` if a classifier prefers the worse text of its probe, or a resumed adapter has another shape.
    """
    policy, learner = pools.learner.submit("initial_state", results=2, about="the initial state")
    model = pools.learner.submit("describe", about="the model")
    probe = pools.reward.submit("probe", about="the probe")
    policy, learner, model, _ = pools.get([policy, learner, model, probe])
    if resumed:
        check_shapes(resumed.policy, policy)
    return Start(policy, resumed or TrainState(policy, learner, policy), model)


def check_shapes(resumed: PolicyState, policy: PolicyState) -> None:
    """Raises `UsageError` if the adapter of a resumed run differs in shape from the one its config describes."""
    old, new = ({name: t.shape for name, t in state.adapter.items()} for state in (resumed, policy))
    if old != new:
        differing = min(set(old.items()) ^ set(new.items()))[0]
        raise UsageError(
            f"policy.lora, policy.adapter: the adapter's shape differs from the one that this run started with "
            f"({differing}); leave them unchanged, or start a new run"
        )


def train(
    config: Config, plan: Plan, pools: Pools, initial: Start, rewards: RewardSchedule | None = None
) -> Iterator[StepReport]:
    """Run the remaining steps. Rollouts come from the newest policy, or with `run_ahead` from the one before it.

    `rewards` say which version of the reward scores each step; by default it never changes.
    """
    state, reference = initial.state, pools.put(initial.reference)
    rewards = rewards or RewardSchedule(config.reward)

    def sample(step: int, policy: Handle) -> list[Handle]:
        answer_requests(step, rewards, plan, pools, reference)  # from here on, the step's version is fixed
        return sample_step(plan, step, pools, policy, reference, rewards)

    ahead: list[Handle] = []
    for step in range(state.version, config.steps):
        started, retries, busy = perf_counter(), dict(pools.retries), dict(pools.busy)
        # Owned by the driver, these objects survive the loss of any worker.
        policy, learner = pools.put(state.policy), pools.put(state.learner)
        source = pools.put(state.sampler) if config.run_ahead else policy
        experience = ahead or sample(step, source)
        updated = update(config, step, pools, policy, learner, experience)
        ahead = sample(step + 1, policy) if config.run_ahead and step + 1 < config.steps else []
        *states, metrics = pools.get(updated)
        sampler = state.policy if config.run_ahead else states[0]
        state = TrainState(*states, sampler, reward=rewards.at(step).number)
        check(step, metrics, BOUNDS[initial.model["dtype"]])
        seconds = perf_counter() - started
        metrics |= {"time/step": seconds, "time/tokens_per_second": metrics["tokens/completions"] / seconds}
        metrics |= {f"time/{role}": pools.busy[role] - busy.get(role, 0.0) for role in ROLES}
        metrics |= {f"retries/{role}": pools.retries[role] - retries.get(role, 0) for role in ROLES}
        yield StepReport(step, metrics, state)


def sample_step(
    plan: Plan, step: int, pools: Pools, policy: Handle, reference: Handle, rewards: RewardSchedule
) -> list[Handle]:
    """The data of an update: rollouts, old pass, scores and reference log-probabilities of each unit in turn."""
    experience: list[Handle] = []
    versions = rewards.at(step), rewards.before(step)
    for unit in plan.units(step):
        rollouts, old = pools.rollout.submit("generate", unit, policy, results=2, about=unit.name)
        scores = pools.reward.submit("score", rollouts, *versions, about=unit.name)
        logprobs = pools.reference.submit("logprobs", rollouts, reference, about=unit.name)
        # The learner joins them: Ray would not resolve handles inside a list or another object.
        experience += [rollouts, old, scores, logprobs]
    return experience


def update(
    config: Config, step: int, pools: Pools, policy: Handle, learner: Handle, experience: list[Handle]
) -> list[Handle]:
    """Handles of a step's new states and metrics, made by one learner in one call or shared among several."""
    call = partial(pools.learner.submit, about=f"step {step}")
    if pools.learner.workers == 1:
        return call("update", policy, learner, *experience, results=3)
    keys = minibatch_keys(config.algorithm, config.rollout.batch_size)
    return run_update(call, keys, policy, learner, experience)


def check(step: int, metrics: dict[str, float], bounds: Bounds) -> None:
    """Raises `RunError` if a step violates an invariant without which its metrics would be meaningless."""
    # `not x <= limit`, so that NaN fails too.
    if step == 0 and not metrics["objective/kl_k3"] <= bounds.first_kl:
        kl = metrics["objective/kl_k3"]
        raise RunError(f"the policy differs from its reference before the first update: KL {kl:.3g}")
    gap = metrics.get("policy/first_ratio_gap", 0.0)
    if not metrics.get("rollout/staleness") and not gap <= bounds.first_ratio_gap:
        raise RunError(
            f"step {step}: rollouts do not come from the learner's policy: before the first update, ratios differ "
            f"from 1 by {gap:.3g}"
        )
    if not metrics["rollout/logprob_gap"] <= bounds.logprob_gap:
        raise RunError(
            f"step {step}: completions were not sampled from the policy that recomputed their log-probabilities: these "
            f"differ by {metrics['rollout/logprob_gap']:.3g} on average"
        )


def judge(
    units: Iterable[WorkUnit], pools: Pools, policy: PolicyState, reference: PolicyState, reward: RewardConfig
) -> Iterator[tuple[WorkUnit, list[dict[str, Any]]]]:
    """Each unit, in order, with the measures of each of its completions by `policy`, including KL from `reference`."""
    policy, reference = pools.put(policy), pools.put(reference)
    pending: deque[tuple[WorkUnit, Handle, Handle]] = deque()
    for unit in units:
        about = f"held-out {unit.name}"
        rollouts = pools.rollout.submit("summarize", unit, policy, about=about)
        verdicts = pools.reward.submit("judge", rollouts, reward, about=about)
        pending.append((unit, verdicts, pools.reference.submit("divergence", rollouts, reference, about=about)))
        if len(pending) >= pools.ahead:
            yield _measures(pools, *pending.popleft())
    while pending:
        yield _measures(pools, *pending.popleft())


def _measures(
    pools: Pools, unit: WorkUnit, verdicts: Handle, divergence: Handle
) -> tuple[WorkUnit, list[dict[str, Any]]]:
    rows, kl = pools.get([verdicts, divergence])
    return unit, [{**row, **{name: column[i] for name, column in kl.items()}} for i, row in enumerate(rows)]
