"""`ray_job.py bench`: measure how long a step takes, and where time and memory go.

Prints a JSON line per step and one with the medians. Times of phases are worker-seconds: the busy time of all workers
of a role within a step. With `bench.vs` the steps alternate with another command's: that command is paused while one of
these steps runs, so that both have the machine to themselves and share its fluctuations evenly.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from cluster.driver import start
from cluster.layout import Layout
from cluster.pools.interface import WorkerSpec
from cluster.pools.opening import open_pools
from cluster.preflight.preflight import preflight
from cluster.roles import rollout_settings, worker_specs
from configs.errors import UsageError
from configs.schema import Config
from service.bench.compared_command import compared_command
from service.bench.console import ConsoleSupervisor
from service.bench.flops import StepFlops
from service.bench.memory import PeakMemory
from service.bench.simulation import simulate
from service.bench.timing import hand_over, step_lines, summarise
from service.run.progress import Display, silence_libraries


def timed_workers(config: Config, layout: Layout) -> dict[str, WorkerSpec]:
    """The workers of a run, with completion lengths forced to `bench.min_new` to `bench.max_new` if set."""
    settings, bench = rollout_settings(config, layout), config.bench
    rollout = WorkerSpec("workers.rollout.timed:TimedRolloutWorker", settings)
    if bench.max_new:
        lengths = settings.rollout.model_copy(update={"min_cut": bench.min_new, "max_new_tokens": bench.max_new})
        rollout = WorkerSpec("workers.rollout.timed:ForcedLengthRolloutWorker", replace(settings, rollout=lengths))
    return worker_specs(config, layout) | {"rollout": rollout}


def bench(config: Config) -> None:
    """Time the steps. Raises `UsageError` before anything starts, `RunError` if a step fails."""
    silence_libraries()
    display = Display(Console(stderr=True))
    if config.bench.simulate:
        simulate(config, display.say)
        return
    if config.bench.vs and config.run_ahead:
        raise UsageError("bench.vs: with run_ahead the next step would overlap with the other command; leave one out")
    config = config.model_copy(update={"steps": config.bench.steps + 1})
    with display.phase("checking models and data"):
        plan = preflight(config, resume=None)
    flops, supervisor = StepFlops(config), ConsoleSupervisor(display.say)
    with compared_command(config.bench.vs) as other, open_pools(config, supervisor, timed_workers) as pools:
        lines, theirs, memory = [], [], PeakMemory(pools, other)
        initial = start(pools)
        memory.start()
        for line in step_lines(config, plan, pools, initial, flops):
            memory.stop()  # after the first step, which is a warm-up: sampling takes time
            if other:
                theirs.append(other.step(config.cluster.update_timeout))
            if line["step"]:
                lines.append(line | ({"other": round(theirs[-1], 3)} if other else {}))
                print(json.dumps(lines[-1]), flush=True)
        summary = summarise(lines, memory.peaks, flops)
        summary["hand_over"] = round(hand_over(pools, initial.state.policy), 6)
    print(json.dumps(summary), flush=True)
    if other:
        print(_comparison(config.bench.vs, lines, theirs[1:]))


def _comparison(command: str, lines: Sequence[dict[str, Any]], theirs: Sequence[float]) -> str:
    ratios = sorted(their / line["total"] for their, line in zip(theirs, lines, strict=True))
    median, low, high = statistics.median(ratios), ratios[0], ratios[-1]
    return f"{median:.2f} times as fast as: {command} (from {low:.2f} to {high:.2f} in {len(ratios)} pairs of steps)"
