"""Timing of a benchmark's steps, and of handing a policy to the workers."""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from cluster.driver import Start, train
from cluster.plan import Plan
from cluster.pools.interface import Pools
from configs.schema import Config
from learner.types import PolicyState
from service.bench.flops import StepFlops

PHASES = {"generate": "rollout", "score": "reward", "reference": "reference", "update": "learner"}
"""Phase -> role of the workers that run it."""
HANDOVERS = 5


def step_lines(config: Config, plan: Plan, pools: Pools, initial: Start, flops: StepFlops) -> Iterator[dict[str, Any]]:
    """Run the steps; yields each step's seconds, tokens and utilisation."""
    idle = psutil.cpu_times().idle
    for report in train(config, plan, pools, initial):
        metrics, units = report.metrics, plan.units(report.step)
        seconds = metrics["time/step"]
        prompt, new = sum(int(unit.prompt_mask.sum()) for unit in units), int(metrics["tokens/completions"])
        line = {"step": report.step, "total": seconds}
        line |= {phase: metrics[f"time/{role}"] for phase, role in PHASES.items()}
        line["idle"] = (psutil.cpu_times().idle - idle) / psutil.cpu_count()
        line |= {"tokens_per_second": new / seconds, "utilisation": flops.utilisation(prompt, new, seconds)}
        yield {k: round(v, 3) for k, v in line.items()} | {"new_tokens": new, "prompt_tokens": prompt}
        idle = psutil.cpu_times().idle


def summarise(lines: list[dict[str, Any]], peaks: Mapping[str, float], flops: StepFlops) -> dict[str, Any]:
    """Medians over the steps, with data type, peak rate and peak memory."""
    names = [name for name in lines[0] if name != "step"]
    medians = {name: round(statistics.median(line[name] for line in lines), 3) for name in names}
    return {
        "steps": len(lines),
        **medians,
        "dtype": flops.dtype,
        "matmul_gflops": round(flops.rate / 1e9, 1),
        "peak_gb": {role: round(peak / 1e9, 2) for role, peak in peaks.items()},
    }


def hand_over(pools: Pools, policy: PolicyState) -> float:
    """Seconds until all rollout workers have loaded a policy held by the driver; median of several measurements."""
    found = []
    for _ in range(HANDOVERS):
        began = time.perf_counter()
        handle = pools.put(policy)
        pools.get([pools.rollout.submit("take", handle, about="a policy") for _ in range(pools.rollout.workers)])
        found.append(time.perf_counter() - began)
    return statistics.median(found)
