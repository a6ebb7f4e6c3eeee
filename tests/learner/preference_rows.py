"""Examples of preferences made of the shipped dialogues, and learners of them in this process."""

from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Any

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from cluster.pools.interface import Pools, make_worker
from cluster.preferences.driver import References, learn, reference_logprobs, start
from cluster.preferences.plan import PreferencePlan
from cluster.preflight.models import check_policy, check_tokenizer
from cluster.preflight.preferences import make_plan
from cluster.roles import preference_specs
from configs.schema import Config
from learner.preferences.pairs import Preference
from learner.types import TrainState
from tests.conftest import read_prompts, small_config

SETTINGS = {"dpo__batch_size": 4, "dpo__microbatch_size": 2, "dpo__learning_rate": 1e-2, "dpo__evals": 1,
            "dpo__epochs": 1, "dpo__held_out": 0.2, "rollout__max_new_tokens": 60}  # fmt: skip


def config_of(**overrides: Any) -> Config:
    return small_config(**SETTINGS | overrides)


def pairs(count: int = 10) -> list[Preference]:
    """A prompt's own reference is preferred to the next one's; the last is a tie."""
    prompts = read_prompts(small_config())[: count + 1]
    return [
        Preference(own.text, own.references[0], other.references[0], tie=number == count - 1)
        for number, (own, other) in enumerate(pairwise(prompts))
    ]


def plan_of(config: Config, rows: Sequence[Any]) -> PreferencePlan:
    return make_plan(config, check_policy(config), check_tokenizer(config), rows)


class Turns:
    """Learners in this process that take turns, as those of a pool do."""

    def __init__(self, workers: list[Any]) -> None:
        self.workers, self.turn = len(workers), cycle(workers)

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        value = getattr(next(self.turn), method)(*args)
        return list(value) if results > 1 else value


def learners(config: Config, count: int = 1, steps: int = 0) -> list[Any]:
    config = config.model_copy(update={"steps": steps or config.steps})
    spec = preference_specs(config, resolve(LayoutRequest.of_learners(config), [Machine(2)]))["learner"]
    return [make_worker(spec, threads=1) for _ in range(count)]


def run(config: Config, plan: PreferencePlan, count: int = 1, resumed: TrainState | None = None):
    """Reports of all steps, by so many learners."""
    pools = Pools({"learner": Turns(learners(config, count, plan.steps))}, get=list, put=lambda value: value)
    initial, references = start(pools, resumed), References(config.dpo.loss.with_reference)
    for unit, logprobs in reference_logprobs(plan.first_units(), pools, initial.reference):
        references.add(unit, logprobs)
    return list(learn(config.dpo, plan, pools, initial, references))
