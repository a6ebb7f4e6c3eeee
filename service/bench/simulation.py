"""How busy the driver keeps many workers, which only sleep but run in the real pools, dispatcher and Ray."""

import json
import time
from collections.abc import Callable

from cluster.layout import ROLES, Layout
from cluster.pools.interface import Pools, WorkerSpec
from cluster.pools.opening import open_pools
from configs.errors import UsageError
from configs.schema import Config
from service.bench.console import ConsoleSupervisor

UNITS = 8
"""Units per rollout worker."""
START_TIMEOUT = 1800.0
"""Seconds: hundreds of processes start a few at a time."""


def simulate(config: Config, say: Callable[[str], None]) -> None:
    """Print a JSON line for each number of workers in `bench.simulate`. Raises `UsageError` without Ray."""
    if config.cluster.backend == "inline":
        raise UsageError("bench.simulate: cluster.backend inline has one worker per role; use ray")
    for number in config.bench.simulate:
        say(f"{number} simulated workers")
        print(json.dumps(_simulate(_settings(config, number), number, say)), flush=True)


def _settings(config: Config, number: int) -> Config:
    """Half of the workers sample, because that takes twice as long as scoring or a reference pass."""
    workers = {"rollout": number // 2, "reward": number // 4, "reference": number // 4, "learner": 1}
    cluster = config.cluster.model_copy(update={"start_timeout": START_TIMEOUT})
    workers = config.workers.model_copy(update=workers)
    return config.model_copy(update={"workers": workers, "cluster": cluster})


def simulated_workers(config: Config, layout: Layout) -> dict[str, WorkerSpec]:
    """A worker for each role that only sleeps."""
    return dict.fromkeys(ROLES, WorkerSpec("workers.simulated:SimulatedWorker", config.bench.simulate_seconds))


def _simulate(config: Config, number: int, say: Callable[[str], None]) -> dict[str, float]:
    with open_pools(config, ConsoleSupervisor(say), simulated_workers) as pools:
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
        # Scoring starts after the first rollouts and ends after the last: filling and draining, not the driver.
        whole = seconds - 2 * config.bench.simulate_seconds
        return {
            "workers": number,
            "units": units,
            "seconds": round(seconds, 2),
            "efficiency": round(busy / (number * whole), 4),
            "driver_ms_per_unit": round(1000 * (time.process_time() - cpu) / units, 3),
        }


def _wait_until_ready(pools: Pools) -> None:
    """Make calls until every worker is ready or has been given up, so that none starts during the measurement."""
    while len(pools.processes()) < sum(getattr(pools, role).workers for role in ROLES):
        pools.get([pools.reward.submit("score", None, about="a first call")])
