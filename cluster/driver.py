"""The driver: one loop that hands results from pool to pool. It moves handles only, never tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from cluster.plan import Plan
from cluster.pools import Handle, Pools
from configs.errors import RunError
from configs.schema import Config
from learner.types import Rollouts, Scores

MAX_FIRST_KL = 1e-3
"""KL (k3) per completion, in nats, that the policy may have to itself at step 0: rounding."""
MAX_FIRST_RATIO_GAP = 0.05
"""Mean distance of a token's ratio from 1 before anything changed: bfloat16's rounding in batches of another shape."""
MAX_LOGPROB_GAP = 0.1
"""Mean gap per token between the log-probability recorded while decoding and the learner's: bfloat16's rounding."""


@dataclass(frozen=True)
class Start:
    """What stands before the first step."""

    policy: Handle  # PolicyState of version 0, also the reference's
    learner: Handle  # LearnerState
    model: dict[str, int | str]  # parameter counts and type


@dataclass(frozen=True)
class StepReport:
    """One finished step."""

    step: int
    metrics: dict[str, float]
    policy: Handle  # PolicyState that the step made


def start(pools: Pools) -> Start:
    """Make version 0, and refuse a reward whose sign is reversed."""
    policy, learner = pools.learner.submit("initial_state", results=2)
    model, probe = pools.get([pools.learner.submit("describe"), pools.reward.submit("probe")])
    if probe and probe["better"] <= probe["worse"]:
        raise RunError(
            f"reward.label: the reward prefers the worse probe ({probe['worse']:.2f}) to the better one "
            f"({probe['better']:.2f}); name the other label, or leave the check out by --reward.probe null"
        )
    return Start(policy, learner, model)


def train(config: Config, plan: Plan, pools: Pools, begin: Start) -> Iterator[StepReport]:
    """Run the steps, each on the policy that the one before made."""
    policy, learner = begin.policy, begin.learner
    for step in range(config.steps):
        began = perf_counter()
        experience: list[Handle] = []
        for unit in plan.units(step):
            rollouts = pools.rollout.submit("generate", unit, policy)
            scores = pools.reward.submit("score", rollouts)
            reference = pools.reference.submit("logprobs", rollouts, begin.policy)
            # The learner joins the three: a handle inside a list or another object would not be followed.
            experience += [rollouts, scores, reference]
        policy, learner, metrics = pools.learner.submit("update", policy, learner, *experience, results=3)
        [values] = pools.get([metrics])
        check(step, values)
        seconds = perf_counter() - began
        timing = {"time/step": seconds, "time/tokens_per_second": values["tokens/completions"] / seconds}
        yield StepReport(step, values | timing, policy)


def check(step: int, metrics: dict[str, float]) -> None:
    """What must hold for the numbers to mean anything. Raises `RunError` where it does not."""
    # Written so that a number that is not one does not pass.
    if step == 0 and not metrics["objective/kl_k3"] <= MAX_FIRST_KL:
        kl = metrics["objective/kl_k3"]
        raise RunError(f"the policy differs from its reference before the first update: KL {kl:.3g}")
    if step == 0 and not metrics.get("ppo/policy/first_ratio_gap", 0.0) <= MAX_FIRST_RATIO_GAP:
        gap = metrics["ppo/policy/first_ratio_gap"]
        raise RunError(f"the policy differs from the one that sampled before the first update: ratios {gap:.3g} from 1")
    if not metrics["rollout/logprob_gap"] <= MAX_LOGPROB_GAP:
        raise RunError(
            f"step {step}: rollouts do not come from the learner's policy: log-probabilities are "
            f"{metrics['rollout/logprob_gap']:.3g} apart on average"
        )


def judge(plan: Plan, pools: Pools, policy: Handle) -> Iterator[tuple[Rollouts, Scores]]:
    """Completions and scores of the held-out prompts, unit by unit in plan order."""
    units = [
        (rollouts := pools.rollout.submit("generate", unit, policy), pools.reward.submit("score", rollouts))
        for unit in plan.evaluation_units()
    ]
    for rollouts, scores in units:
        yield tuple(pools.get([rollouts, scores]))
