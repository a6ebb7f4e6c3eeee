"""How busy the driver keeps many workers: they only sleep, but through the same pools, dispatcher and Ray."""

import json
import time
from collections.abc import Callable

from cluster.pools.interface import ROLES, Pools, Supervisor, open_pools
from configs.errors import UsageError
from configs.schema import Config

SLEEPERS = dict.fromkeys(ROLES, "workers.simulated:Sleeper")
UNITS = 8
"""Units per rollout worker."""
START_TIMEOUT = 1800.0
"""Seconds: hundreds of processes start a few at a time."""


class Teller(Supervisor):
    """Says what people should know, and asks for nothing."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say


def simulate(config: Config, say: Callable[[str], None]) -> None:
    """A JSON line for each of the numbers of workers in `bench.simulate`. Raises `UsageError` without Ray."""
    if config.cluster.backend == "inline":
        raise UsageError("bench.simulate: there is one worker of each role with cluster.backend inline; use ray")
    for number in config.bench.simulate:
        say(f"{number} workers that sleep")
        print(json.dumps(_simulate(_settings(config, number), number, say)), flush=True)


def _settings(config: Config, number: int) -> Config:
    """Half of the workers sample, which takes twice as long as a score or a pass of the reference."""
    workers = {"rollout": number // 2, "reward": number // 4, "reference": number // 4, "learner": 1}
    cluster = config.cluster.model_copy(update={"start_timeout": START_TIMEOUT})
    workers = config.workers.model_copy(update=workers)
    return config.model_copy(update={"workers": workers, "cluster": cluster})


def _simulate(config: Config, number: int, say: Callable[[str], None]) -> dict[str, float]:
    with open_pools(config, Teller(say), SLEEPERS) as pools:
        _wait_until_ready(pools)
        busy, cpu, began = pools.busy.total(), time.process_time(), time.perf_counter()
        units = UNITS * config.workers.rollout
        results = []
        for unit in range(units):
            rollouts, _ = pools.rollout.submit("generate", unit, None, results=2, about=f"unit {unit}")
            results += [pools.reward.submit("score", rollouts, about=f"unit {unit}")]
            results += [pools.reference.submit("logprobs", rollouts, None, about=f"unit {unit}")]
        pools.get(results)
        seconds, busy = time.perf_counter() - began, pools.busy.total() - busy
        # Scores begin when the first completions are there, and end as much later: the work's shape, no driver's doing.
        whole = seconds - 2 * config.bench.simulate_seconds
        return {
            "workers": number,
            "units": units,
            "seconds": round(seconds, 2),
            "efficiency": round(busy / (number * whole), 4),
            "driver_ms_per_unit": round(1000 * (time.process_time() - cpu) / units, 3),
        }


def _wait_until_ready(pools: Pools) -> None:
    """Have calls answered until every worker is there or given up, so that none starts while the time is taken."""
    while len(pools.processes()) < sum(getattr(pools, role).workers for role in ROLES):
        pools.get([pools.reward.submit("score", None, about="a first call")])
