"""A tiny training step in this process: whether a run's models generate, are scored and learn."""

from collections.abc import Mapping

from cluster.driver import BOUNDS, check
from cluster.layout import Layout
from cluster.plan import Plan, make_unit
from cluster.pools.interface import make_worker
from cluster.roles import worker_specs
from configs.errors import RunError
from configs.schema import Config

TOKENS = 8
"""Maximum tokens of a completion: enough to see that recorded and teacher-forced log-probabilities are the same."""


def trial_step(config: Config, layout: Layout, plan: Plan) -> Mapping[str, float]:
    """Metrics of a step on the first prompts of the plan, with the laws of a run's first step checked.

    The workers are built one after another, so that it takes no more memory than the largest of them.
    Raises `RunError` if a law is violated or the loss is not finite, and whatever a worker raises.
    """
    config = _short(config)

    def call(role: str, method: str, *arguments: object) -> object:
        return getattr(make_worker(worker_specs(config, layout)[role], threads=1), method)(*arguments)

    first = plan.units(0)[0]
    rows = first.rows[: max(2, config.algorithm.completions_per_prompt)]
    unit = make_unit(plan.train, rows, first.key, first.seed)
    model, (policy, state) = call("learner", "describe"), call("learner", "initial_state")
    rollouts, old = call("rollout", "generate", unit, policy)
    scores, reference = call("reward", "score", rollouts), call("reference", "logprobs", rollouts, policy)
    *_, metrics = call("learner", "update", policy, state, rollouts, old, scores, reference)
    check(0, metrics, BOUNDS[model["dtype"]])
    if metrics["optimizer/rejected_steps"]:
        raise RunError("the loss of the first step is not finite: check the rewards and algorithm.learning_rate")
    return metrics


def _short(config: Config) -> Config:
    tokens = min(TOKENS, config.rollout.max_new_tokens)
    rollout = config.rollout.model_copy(update={"max_new_tokens": tokens, "min_cut": None})
    return config.model_copy(update={"rollout": rollout})
