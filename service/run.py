"""One run from config to report."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.driver import Start, start, train
from cluster.plan import Plan
from cluster.pools import Pools, open_pools
from cluster.preflight import preflight
from configs.algorithms import WithValues
from configs.errors import RunError, UsageError
from configs.schema import Config
from learner.adapter import save_adapter, tensors_sha256
from learner.lora import lora_config
from learner.types import TrainState
from service.control import RunControl
from service.progress import Display, silence_libraries
from service.run_folder import RunFolder, new_folder, read_steps
from service.summaries import judge_policies
from service.watch import Watcher

POLICIES = 2
"""That a run judges: before and after."""


def run(config: Config, resume: Path | None = None) -> None:
    """Train, judge before and after, and report; the last line of standard output is the run's folder.

    With `resume`, the folder of a run that ended early, go on where that was.

    Raises `UsageError` before anything starts, `RunError` where the run fails.
    """
    began = time.perf_counter()
    silence_libraries()
    display = Display(Console(stderr=True))
    path = display.folder = resume or (Path(config.out) if config.out else new_folder())
    with display.phase("checking models and data"):
        plan = preflight(config, resume)
        shape = lora_config(config.policy)  # now: at the end, what it is read from may be gone
    display.say(f"{len(plan.train)} prompts to learn from, {len(plan.held_out)} held out")
    with RunFolder(path, config, display) as folder, _way_on(path, display), ExitStack() as stack:
        if resume and folder.is_complete():
            display.say(f"{path} is complete: nothing is left to do")
            print(path)
            return
        resumed = folder.resume() if resume else None
        with display.phase("starting workers and loading models"):
            pools = stack.enter_context(open_pools(config, RunControl(path, display.say)))
            begin = start(pools, resumed)
        for line in (model_line(begin.model), *_value_head_line(config, begin.model), judging_line(plan)):
            display.say(line)
        folder.open(begin, plan)  # not before: a run that cannot begin writes nothing
        state = _learn(config, plan, pools, begin, folder)
        save_adapter(state.policy, shape, config.policy.model, path / "adapter")  # before anything else can fail
        display.say(f"the trained adapter is in {path / 'adapter'}")
        with _after_training(path):
            policies = {"before": begin.reference, "after": state.policy}
            table = judge_policies(path, plan, pools, policies, display)
            stack.close()
            facts = {"adapter_sha256": tensors_sha256(state.policy.adapter), "steps": config.steps, "seed": config.seed}
            facts |= _facts(begin, resumed, read_steps(path)[0], began)
            # Loaded only now: it brings libraries that would keep the first step waiting for seconds.
            from service.conclusion import conclude

            conclude(path, plan, table, facts, display)
    print(path)


def _learn(config: Config, plan: Plan, pools: Pools, begin: Start, folder: RunFolder) -> TrainState:
    """The steps that are left; the state that the last one made."""
    display, state, first = folder.display, begin.state, begin.state.version
    watcher = Watcher(read_steps(folder.path), config.watch, display.say)
    for report in display.steps(train(config, plan, pools, begin), first, config.steps):
        folder.add(report)
        watcher.add(report.metrics)
        state = report.state
        if report.step == min(first + 1, config.steps - 1):  # the first one waits for workers that still load
            display.say(f"judging will take about {judging_seconds(plan, report.metrics):.0f} s after the last step")
    return state


def judging_line(plan: Plan) -> str:
    """What is done after the last step."""
    samples, prompts = plan.config.evaluation.samples, len(plan.held_out)
    return (
        f"after training, {POLICIES} policies are judged on {prompts} held-out prompts: {samples} sampled summaries "
        f"and a greedy one of each, {POLICIES * prompts * (samples + 1):,} in all (evaluation.rows, evaluation.samples)"
    )


def judging_seconds(plan: Plan, metrics: Mapping[str, float]) -> float:
    """About how long that takes, at the pace of a step: what it took but for its update."""
    config = plan.config
    pace = max(metrics["time/step"] - metrics["time/learner"], 0.0) / config.rollout.batch_size
    return POLICIES * len(plan.held_out) * (config.evaluation.samples + 1) * pace


@contextmanager
def _after_training(path: Path) -> Iterator[None]:
    """Whatever goes wrong from here on, what was trained is there. Raises `RunError` saying so."""
    try:
        yield
    except (RunError, UsageError, OSError):
        raise
    except Exception as error:
        raise RunError(
            f"{path / 'adapter'} is trained, but could not be judged and reported: {type(error).__name__}: {error}"
        ) from error


def _value_head_line(config: Config, model: Mapping[str, Any]) -> Iterator[str]:
    if config.policy.adapter and isinstance(config.algorithm, WithValues):
        kept = model["value_head_kept"]
        yield (
            "the value head is the one beside policy.adapter"
            if kept
            else ("policy.adapter has no value head beside it: a new one is learned")
        )


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
    except UsageError:
        raise
    except (Exception, KeyboardInterrupt):
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
