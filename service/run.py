"""One run from config to report."""

import time
from contextlib import ExitStack
from typing import Any

import datasets
import torch
from rich.console import Console
from transformers.utils import logging

from cluster.driver import judge, start, train
from cluster.pools import open_pools
from cluster.preflight import preflight
from configs.algorithms import GroupedPPO
from configs.schema import Config
from service.progress import Display
from service.run_folder import RunFolder


def run(config: Config) -> None:
    """Train, judge before and after, and report; the last line of standard output is the run's folder.

    Raises `UsageError` before anything starts, `RunError` where the run fails.
    """
    began = time.perf_counter()
    torch.set_num_threads(config.cluster.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    display = Display(Console(stderr=True))
    plan = preflight(config)
    display.say(f"{len(plan.train)} prompts to learn from, {len(plan.held_out)} held out")
    display.say(
        f"starting {config.workers.rollout} rollout, {config.workers.reward} reward and {config.workers.reference} "
        f"reference workers and the learner ({config.cluster.backend})"
    )
    with ExitStack() as stack:
        pools = stack.enter_context(open_pools(config))
        begin = start(pools)
        display.say(model_line(begin.model))
        folder = stack.enter_context(RunFolder(config))  # not before: a run that cannot begin writes nothing
        first: dict[str, float] = {}
        final = begin.policy
        for report in display.steps(train(config, plan, pools, begin), config.steps):
            folder.add(report)
            first = first or report.metrics
            final = report.policy
        # Loaded only now: they bring libraries that would keep the first step waiting for seconds.
        from learner.adapter import save_adapter, tensors_sha256
        from service.report import rich_table, versions, write_report
        from workers.evaluation import Evaluation, compare, compare_groups

        [state] = pools.get([final])
        save_adapter(state, config.policy, folder.path / "adapter")
        policies = {"before": begin.policy, "after": final}
        units = len(plan.evaluation_units())
        before, after = (
            Evaluation.of(display.track(judge(plan, pools, policy), units, f"judging {name}"), plan.held_out)
            for name, policy in policies.items()
        )
    result = {
        **compare(before, after),
        "groups": compare_groups(before, after, plan.held_out) if isinstance(config.algorithm, GroupedPPO) else {},
        # None where the first step was not taken.
        "checks": {"first_kl": first["objective/kl"], "first_ratio_gap": first.get("ppo/policy/first_ratio_gap")},
        "evaluation": {"rows": len(plan.held_out), **config.evaluation.model_dump(include={"samples", "seed"})},
        "adapter_sha256": tensors_sha256(state.adapter),
        "model": begin.model,
        "steps": config.steps,
        "seed": config.seed,
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    write_report(folder.path, result, before, after, plan.held_out)
    Console().print(rich_table(result))
    print(folder.path)


def model_line(model: dict[str, Any]) -> str:
    """Trainable and total parameters, as peft prints them, with the value head beside."""
    share = 100 * model["trainable"] / model["total"]
    return (
        f"policy in {model['dtype']}: {model['trainable']:,} of {model['total']:,} parameters are trainable "
        f"({share:.2f}%), with the value head {model['trainable_with_value_head']:,}"
    )
