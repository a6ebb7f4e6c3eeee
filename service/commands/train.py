"""One run from config to report."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftConfig
from rich.console import Console

from cluster.driver import Start, train
from cluster.plan import Plan
from cluster.pools.interface import Pools
from cluster.preflight.preflight import preflight
from configs.algorithms import WithValues
from configs.errors import RunError, UsageError
from configs.installation import COMMAND
from configs.schema import Config
from learner.adapter import save_adapter, tensors_sha256
from learner.lora import lora_config
from learner.types import TrainState
from service.run.folder import RunFolder, new_folder, read_steps
from service.run.held_out_summaries import judge_policies
from service.run.progress import Display, silence_libraries
from service.run.reward_hacking import Watcher
from service.run.supervisor import started

JUDGING = ("rollout", "reward", "reference")
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
    with display.phase("checking models and data"):
        plan = preflight(config, resume)
        shape = lora_config(config.policy)  # now: at the end, what it is read from may be gone
    display.say(f"{len(plan.train)} prompts to learn from, {len(plan.held_out)} held out")
    path = resume or (Path(config.out) if config.out else new_folder())
    with RunFolder(path, config, display) as folder, _way_on(path, display):
        if resume and folder.is_complete():
            display.say(f"{path} is complete: nothing is left to do")
        else:
            resumed = folder.resume() if resume else None
            folder.check_data(plan)
            _run(plan, folder, shape, resumed, began)
    print(path)


def _run(plan: Plan, folder: RunFolder, shape: PeftConfig, resumed: TrainState | None, began: float) -> None:
    """Learn, save, judge and report, with workers that end before the last of these."""
    config, path, display = plan.config, folder.path, folder.display
    display.folder = path
    with started(config, path, display, resumed) as (pools, begin):
        _say_what_comes(plan, begin.model, display)
        folder.open(begin, plan)  # not before: a run that cannot begin writes nothing
        state = _learn(plan, pools, begin, folder)
        save_adapter(state.policy, shape, config.policy.model, path / "adapter")  # before anything else can fail
        display.say(f"the trained adapter is in {path / 'adapter'}")
        with _after_training(path):
            policies = {"before": begin.reference, "after": state.policy}
            table = judge_policies(path, plan, pools, policies, display)
    with _after_training(path):
        # Loaded only now: it brings libraries that would keep the first step waiting for seconds.
        from service.report.report import conclude

        facts = {"adapter_sha256": tensors_sha256(state.policy.adapter), "steps": config.steps, "seed": config.seed}
        facts |= _facts(begin, resumed, read_steps(path)[0], began)
        conclude(path, plan, table, facts, display)
    display.done()


def _say_what_comes(plan: Plan, model: Mapping[str, Any], display: Display) -> None:
    display.say(model_line(model))
    if plan.config.policy.adapter and isinstance(plan.config.algorithm, WithValues):
        kept, new = "the value head is the one beside policy.adapter", "policy.adapter has no value head beside it"
        display.say(kept if model["value_head_kept"] else f"{new}: a new one is learned")
    display.say(judging_line(plan))


def _learn(plan: Plan, pools: Pools, begin: Start, folder: RunFolder) -> TrainState:
    """The steps that are left; the state that the last one made."""
    config, display, state, first = plan.config, folder.display, begin.state, begin.state.version
    watcher = Watcher(read_steps(folder.path), config.watch, display.say)
    for report in display.steps(train(config, plan, pools, begin), first, config.steps):
        folder.add(report)
        watcher.add(report.metrics)
        state = report.state
        if report.step == min(first + 1, config.steps - 1):  # the first one waits for workers that still load
            seconds = judging_seconds(plan, pools, report.metrics)
            display.say(f"judging will take about {seconds:.0f} s after the last step")
    return state


def judging_line(plan: Plan) -> str:
    """What is done after the last step."""
    samples, prompts = plan.config.evaluation.samples, len(plan.held_out)
    return (
        f"after training, {POLICIES} policies are judged on {prompts} held-out prompts: {samples} sampled summaries "
        f"and a greedy one of each, {POLICIES * prompts * (samples + 1):,} in all (evaluation.rows, evaluation.samples)"
    )


def judging_seconds(plan: Plan, pools: Pools, metrics: Mapping[str, float]) -> float:
    """About how long that takes, at the pace of a step: what it took but for its update."""
    config = plan.config
    alone = metrics["time/step"] - metrics["time/learner"] / config.workers.learner
    # Where the update overlaps with sampling that tells little; it takes no less than if all workers had always worked.
    workers = sum(getattr(pools, role).workers for role in JUDGING)
    together = sum(metrics[f"time/{role}"] for role in JUDGING) / workers
    pace = max(alone, together) / config.rollout.batch_size
    return POLICIES * len(plan.held_out) * (config.evaluation.samples + 1) * pace


@contextmanager
def _after_training(path: Path) -> Iterator[None]:
    """Whatever goes wrong from here on, what was trained is there. Raises `RunError` saying so."""
    try:
        yield
    except (RunError, OSError):
        raise
    except Exception as error:
        raise RunError(
            f"{path / 'adapter'} is trained, but could not be judged and reported: {type(error).__name__}: {error}"
        ) from error


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
            display.say(f"what was done is kept; go on by: {COMMAND} --resume {path}")
        raise


def model_line(model: dict[str, Any]) -> str:
    """Trainable and total parameters, as peft prints them, with the value head beside."""
    share = 100 * model["trainable"] / model["total"]
    return (
        f"policy in {model['dtype']}: {model['trainable']:,} of {model['total']:,} parameters are trainable "
        f"({share:.2f}%), with the value head {model['trainable_with_value_head']:,}"
    )
