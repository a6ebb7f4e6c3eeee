"""One run from config to report."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from rich.console import Console
from transformers.utils import logging

from cluster.driver import judge, start, train
from cluster.pools import open_pools
from cluster.preflight import preflight
from configs.algorithms import GroupedPPO
from configs.errors import RunError
from configs.schema import Config
from service.control import RunControl
from service.progress import Display
from service.run_folder import RunFolder, new_folder


def run(config: Config, resume: Path | None = None) -> None:
    """Train, judge before and after, and report; the last line of standard output is the run's folder.

    With `resume`, the folder of a run that ended early, go on where that was.

    Raises `UsageError` before anything starts, `RunError` where the run fails.
    """
    began = time.perf_counter()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    display = Display(Console(stderr=True))
    plan = preflight(config, resume)
    path = resume or (Path(config.out) if config.out else new_folder())
    display.say(f"{len(plan.train)} prompts to learn from, {len(plan.held_out)} held out")
    with RunFolder(path, config, display) as folder, _way_on(path, display):
        if resume and folder.is_complete():
            display.say(f"{path} is complete: nothing is left to do")
            print(path)
            return
        resumed = folder.resume() if resume else None
        with open_pools(config, RunControl(path, display.say)) as pools:
            begin = start(pools, resumed)
            display.say(model_line(begin.model))
            folder.open(begin, plan)  # not before: a run that cannot begin writes nothing
            state = begin.state
            for report in display.steps(train(config, plan, pools, begin), begin.state.version, config.steps):
                folder.add(report)
                state = report.state
            # Loaded only now: they bring libraries that would keep the first step waiting for seconds.
            from learner.adapter import save_adapter, tensors_sha256
            from service.report import rich_table, versions, write_report
            from workers.evaluation import Evaluation, compare, compare_groups

            save_adapter(state.policy, config.policy, path / "adapter")
            policies = {"before": begin.reference, "after": state.policy}
            units = len(plan.evaluation_units())
            before, after = (
                Evaluation.of(display.track(judge(plan, pools, policy), units, f"judging {name}"), plan.held_out)
                for name, policy in policies.items()
            )
        first = folder.steps()[0]
        result = {
            **compare(before, after),
            "groups": compare_groups(before, after, plan.held_out) if isinstance(config.algorithm, GroupedPPO) else {},
            # None where the first step was not taken.
            "checks": {"first_kl": first["objective/kl"], "first_ratio_gap": first.get("ppo/policy/first_ratio_gap")},
            "evaluation": {"rows": len(plan.held_out), **config.evaluation.model_dump(include={"samples", "seed"})},
            "adapter_sha256": tensors_sha256(state.policy.adapter),
            "model": begin.model,
            "steps": config.steps,
            "seed": config.seed,
            "seconds": time.perf_counter() - began,
            "resumed_after_step": resumed.version if resumed else None,
            "versions": versions(),
        }
        write_report(path, result, before, after, plan.held_out)
    Console().print(rich_table(result))
    print(path)


@contextmanager
def _way_on(path: Path, display: Display) -> Iterator[None]:
    """Where the run ends early, say how it goes on."""
    try:
        yield
    except (RunError, OSError, KeyboardInterrupt):
        if (path / "config.yaml").exists():
            display.say(f"what was done is kept; go on by: python ray_job.py --resume {path}")
        raise


def model_line(model: dict[str, Any]) -> str:
    """Trainable and total parameters, as peft prints them, with the value head beside."""
    share = 100 * model["trainable"] / model["total"]
    return (
        f"policy in {model['dtype']}: {model['trainable']:,} of {model['total']:,} parameters are trainable "
        f"({share:.2f}%), with the value head {model['trainable_with_value_head']:,}"
    )
