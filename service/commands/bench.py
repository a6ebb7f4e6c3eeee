"""`ray_job.py bench`: how long a step takes, and where the time and the memory go.

Prints a JSON line a step and one for all of them. Times of phases are worker-seconds: what the workers of a role worked
in a step, added up. With `bench.vs` another command's steps are timed in turn with these: it is stopped while one of
these runs, so that both have the machine to themselves and its moods are shared out evenly.
"""

import json
import os
import shlex
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from rich.console import Console

from cluster.driver import start, train
from cluster.plan import Plan
from cluster.pools.interface import ROLES, Pools, open_pools
from cluster.preflight.preflight import preflight
from configs.errors import RunError, UsageError
from configs.schema import Config
from learner.types import PolicyState
from service.bench.flops import Work
from service.bench.simulation import Teller, simulate
from service.run.progress import Display, silence_libraries

BENCH_ROLES = {**ROLES, "rollout": "workers.rollout.forced_length:ForcedRolloutWorker"}
PHASES = {"generate": "rollout", "score": "reward", "reference": "reference", "update": "learner"}
HANDOVERS = 5
GLANCE = 0.2
"""Seconds between two looks at the memory."""


def bench(config: Config) -> None:
    """Time the steps. Raises `UsageError` before anything starts, `RunError` where one fails."""
    silence_libraries()
    display = Display(Console(stderr=True))
    if config.bench.simulate:
        simulate(config, display.say)
        return
    if config.bench.vs and config.run_ahead:
        raise UsageError("bench.vs: with run_ahead the next step is begun while the other command runs; leave one away")
    config = config.model_copy(update={"steps": config.bench.steps + 1})
    with display.phase("checking models and data"):
        plan = preflight(config, resume=None)
    work = Work(config)
    with _other(config.bench.vs) as other, open_pools(config, Teller(display.say), BENCH_ROLES) as pools:
        lines, theirs, memory = [], [], Memory(pools, other)
        begin = start(pools)
        memory.watch()
        for line in steps(config, plan, pools, begin, work):
            memory.stop()  # after the first step, which warms up: looking takes time
            if other:
                theirs.append(other.step(config.cluster.update_timeout))
            if line["step"]:
                lines.append(line | ({"other": round(theirs[-1], 3)} if other else {}))
                print(json.dumps(lines[-1]), flush=True)
        summary = summarise(lines, memory.peaks, work)
        summary["hand_over"] = round(hand_over(pools, begin.state.policy), 6)
    print(json.dumps(summary), flush=True)
    if other:
        ratios = sorted(their / line["total"] for their, line in zip(theirs[1:], lines, strict=True))
        print(f"{statistics.median(ratios):.2f} times as fast as: {config.bench.vs} (from {ratios[0]:.2f} to "
              f"{ratios[-1]:.2f} in {len(ratios)} pairs of steps)")  # fmt: skip


def steps(config: Config, plan: Plan, pools: Pools, begin: Any, work: Work) -> Iterator[dict[str, Any]]:
    """A line for each step."""
    idle = psutil.cpu_times().idle
    for report in train(config, plan, pools, begin):
        metrics, units = report.metrics, plan.units(report.step)
        seconds = metrics["time/step"]
        prompt, new = sum(int(unit.prompt_mask.sum()) for unit in units), int(metrics["tokens/completions"])
        line = {"step": report.step, "total": seconds}
        line |= {phase: metrics[f"time/{role}"] for phase, role in PHASES.items()}
        cores = psutil.cpu_count()
        line["idle"] = (psutil.cpu_times().idle - idle) / cores
        line |= {"tokens_per_second": new / seconds, "utilisation": work.utilisation(prompt, new, seconds)}
        yield {k: round(v, 3) for k, v in line.items()} | {"new_tokens": new, "prompt_tokens": prompt}
        idle = psutil.cpu_times().idle


def summarise(lines: list[dict[str, Any]], peaks: Mapping[str, float], work: Work) -> dict[str, Any]:
    """Medians of the steps, and what is of all of them."""
    names = [name for name in lines[0] if name != "step"]
    medians = {name: round(statistics.median(line[name] for line in lines), 3) for name in names}
    return {
        "steps": len(lines),
        **medians,
        "dtype": work.dtype,
        "matmul_gflops": round(work.rate / 1e9, 1),
        "peak_gb": {role: round(peak / 1e9, 2) for role, peak in peaks.items()},
    }


def hand_over(pools: Pools, policy: PolicyState) -> float:
    """Seconds until all rollout workers have taken up a policy that the driver holds; the median of several times."""
    found = []
    for _ in range(HANDOVERS):
        began = time.perf_counter()
        handle = pools.put(policy)
        pools.get([pools.rollout.submit("take", handle, about="a policy") for _ in range(pools.rollout.workers)])
        found.append(time.perf_counter() - began)
    return statistics.median(found)


class Memory:
    """The largest sum of memory by role and of all, on this machine; pages that several processes share count once."""

    def __init__(self, pools: Pools, other: "Other | None") -> None:
        self.pools, self.other, self.peaks, self._done = pools, other, {}, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def watch(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; again and again does no harm."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            found = self._now()
            found["all"] = sum(found.values())
            self.peaks = {role: max(self.peaks.get(role, 0), found.get(role, 0)) for role in {*self.peaks, *found}}
            if self._done.wait(GLANCE):
                return

    def _now(self) -> dict[str, int]:
        roles, own, found = dict(self.pools.processes()), psutil.Process(), {}
        leave = self.other.processes() if self.other else set()
        for process in {own, *own.children(recursive=True)} - leave:
            role = roles.get(process.pid, "driver" if process.pid == own.pid else "ray")
            with suppress(psutil.Error):  # it has ended
                found[role] = found.get(role, 0) + process.memory_full_info().pss
        return found


class Other:
    """Another command, which runs only while it is asked for a step."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.process = subprocess.Popen(
            shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        self._stop()

    def processes(self) -> set[psutil.Process]:
        """Its own and those that it has begun."""
        process = psutil.Process(self.process.pid)
        return {process, *process.children(recursive=True)}

    def step(self, limit: float) -> float:
        """Seconds until its next JSON line. Raises `RunError` where it ends before, as it is made to after `limit`."""
        self._signal(signal.SIGCONT)
        began, timer = time.perf_counter(), threading.Timer(limit, self.kill)
        timer.start()
        try:
            return self._next_line(began)
        finally:
            timer.cancel()

    def _next_line(self, began: float) -> float:
        for line in self.process.stdout:
            if _is_step(line):
                seconds = time.perf_counter() - began
                self._stop()
                return seconds
        raise RunError(f"bench.vs: {self.command!r} ended with code {self.process.wait()} before it had done its steps")

    def _stop(self) -> None:
        """Have it stand still, and wait until it does, or has ended."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        with suppress(ChildProcessError):  # it has ended
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG)  # so that the next stop is seen as well

    def kill(self) -> None:
        """End it, if it has not ended."""
        with suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)


def _is_step(line: str) -> bool:
    try:
        return "step" in json.loads(line)
    except (ValueError, TypeError):
        return False


@contextmanager
def _other(command: str | None) -> Iterator[Other | None]:
    if not command:
        yield None
        return
    try:
        other = Other(command)
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"bench.vs: {command!r} cannot be run: {error}") from error
    try:
        yield other
    finally:
        other.kill()
