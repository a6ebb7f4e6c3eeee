"""One run from config to report."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.driver import Start, start, train
from cluster.pools import open_pools
from cluster.preflight import preflight
from configs.errors import RunError
from configs.schema import Config
from learner.types import TrainState
from service.control import RunControl
from service.progress import Display, silence_libraries
from service.run_folder import RunFolder, new_folder, read_steps
from service.watch import Watcher


def run(config: Config, resume: Path | None = None) -> None:
    """Train, judge before and after, and report; the last line of standard output is the run's folder.

    With `resume`, the folder of a run that ended early, go on where that was.

    Raises `UsageError` before anything starts, `RunError` where the run fails.
    """
    began = time.perf_counter()
    silence_libraries()
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
            state, watcher = begin.state, Watcher(read_steps(path), config.watch, display.say)
            for report in display.steps(train(config, plan, pools, begin), begin.state.version, config.steps):
                folder.add(report)
                watcher.add(report.metrics)
                state = report.state
            # Loaded only now: they bring libraries that would keep the first step waiting for seconds.
            from learner.adapter import save_adapter, tensors_sha256
            from service.conclusion import conclude
            from service.summaries import judge_policies

            save_adapter(state.policy, config.policy, path / "adapter")
            policies = {"before": begin.reference, "after": state.policy}
            table = judge_policies(path, plan, pools, policies, display)
        facts = {"adapter_sha256": tensors_sha256(state.policy.adapter), "steps": config.steps, "seed": config.seed}
        conclude(path, plan, table, facts | _facts(begin, resumed, read_steps(path)[0], began))
    print(path)


def _facts(begin: Start, resumed: TrainState | None, first: dict[str, Any], began: float) -> dict[str, Any]:
    """What else a run's report tells besides the figures."""
    return {
        # None where the first step was not taken.
        "checks": {"first_kl": first["objective/kl"], "first_ratio_gap": first.get("ppo/policy/first_ratio_gap")},
        "model": begin.model,
        "seconds": time.perf_counter() - began,
        "resumed_after_step": resumed.version if resumed else None,
    }


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
