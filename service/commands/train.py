"""`ray_job.py train`: one run, from config to report."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftConfig
from rich.console import Console

from cluster.driver import Start, train
from cluster.plan import Plan
from cluster.pools.interface import Pools
from cluster.preflight.data import data_lines
from cluster.preflight.preflight import preflight
from cluster.preflight.rewards import check_rewards
from configs.algorithms import WithValues
from configs.errors import RunError
from configs.installation import COMMAND
from configs.schema import Config
from learner.adapter import save_adapter, tensors_sha256
from learner.lora import lora_config, target_modules
from learner.types import TrainState
from service.run.folder import RunFolder, new_folder
from service.run.held_out_summaries import judge_policies
from service.run.progress import Display, silence_libraries
from service.run.resume_hint import resume_hint
from service.run.reward_changes import RunRewards
from service.run.reward_hacking import HackingWatcher
from service.run.start_record import check_data
from service.run.startup import started
from service.run.step_log import read_steps

EVALUATION_ROLES = ("rollout", "reward", "reference")
POLICIES = 2
"""Policies that a run evaluates: before and after."""


def run(config: Config, resume: Path | None = None) -> None:
    """Train, evaluate the policy before and after, and report; the last line of standard output is the run folder.

    `resume` is the folder of a run that ended early; it continues from its newest checkpoint.

    Raises `UsageError` before anything starts, `RunError` if the run fails.
    """
    began = time.perf_counter()
    silence_libraries()
    display = Display(Console(stderr=True))
    with display.phase("checking models and data"):
        plan = preflight(config, resume)
        shape = lora_config(config.policy)  # read now: its source may be gone by the end of the run
    display.say(f"{len(plan.train)} training prompts, {len(plan.held_out)} held-out prompts")
    path = resume or (Path(config.out) if config.out else new_folder())
    with RunFolder(path, config, display) as folder, resume_hint(path, COMMAND, display), display.failure_logged():
        if resume and folder.is_complete():
            display.say(f"{path} is complete: nothing left to do")
        else:
            resumed = folder.resume() if resume else folder.create()
            display.folder = path
            for line in data_lines(plan.splits):  # now, so that the log has them
                display.say(line)
            check_data(path, config, plan, display.say)
            rewards = _rewards(path, config, resumed, display)
            _run(Beginning(config, plan, shape, resumed, began, rewards), folder)
    print(path)


@dataclass(frozen=True)
class Beginning:
    """What is known before the workers start."""

    config: Config
    plan: Plan
    shape: PeftConfig  # of the adapter
    resumed: TrainState | None
    began: float  # time.perf_counter() at the start of the command
    rewards: RunRewards

    @property
    def final(self) -> Config:
        """The config with the reward of the last step."""
        return self.config.model_copy(update={"reward": self.rewards.at(self.config.steps - 1).reward})


def _rewards(path: Path, config: Config, resumed: TrainState | None, display: Display) -> RunRewards:
    """The versions of the reward that the run has had. Raises `UsageError` if one can no longer be used."""
    rewards = RunRewards(path, config.reward, display.say)
    if resumed:
        rewards.check(resumed)
    for version in rewards.versions[1:]:
        check_rewards(config.model_copy(update={"reward": version.reward}))
    return rewards


def _run(beginning: Beginning, folder: RunFolder) -> None:
    """Train, save, evaluate and report; the workers stop before the report is written."""
    config, plan, path, display = beginning.config, beginning.plan, folder.path, folder.display
    with started(config, path, display, beginning.resumed) as (pools, initial):
        _announce(beginning, initial.model, display)
        folder.open(initial, plan)
        state = _train(beginning, pools, initial, folder)
        save_adapter(
            state.policy, beginning.shape, config.policy.model, path / "adapter"
        )  # before anything else can fail
        display.say(f"the trained adapter is in {path / 'adapter'}")
        with _after_training(path):
            policies = {"before": initial.reference, "after": state.policy}
            table = judge_policies(path, plan, pools, policies, beginning.final, display)
    with _after_training(path):
        # Imported only now: its libraries would delay the first step by seconds.
        from service.report.report import Findings, write_report

        facts = {"adapter_sha256": tensors_sha256(state.policy.adapter), "steps": config.steps, "seed": config.seed}
        facts |= _facts(initial, beginning, read_steps(path)[0])
        write_report(path, Findings.of(config, plan, table), facts, display)
    display.done()


def _announce(beginning: Beginning, model: Mapping[str, Any], display: Display) -> None:
    display.say(model_line(model))
    if beginning.config.policy.lora.target_modules == "auto" and not beginning.config.policy.adapter:
        display.say(f"policy.lora.target_modules auto: {', '.join(target_modules(beginning.config.policy))}")
    if beginning.config.policy.adapter and isinstance(beginning.config.algorithm, WithValues):
        kept, new = "using the value head saved with policy.adapter", "policy.adapter has no value head"
        display.say(kept if model["value_head_kept"] else f"{new}: training a new one")
    display.say(evaluation_line(beginning.plan))


def _train(beginning: Beginning, pools: Pools, initial: Start, folder: RunFolder) -> TrainState:
    """Run the remaining steps; returns the final state."""
    config, display, state, first = beginning.config, folder.display, initial.state, initial.state.version
    watcher = HackingWatcher(read_steps(folder.path), config.watch, display.say)
    for report in display.steps(train(config, beginning.plan, pools, initial, beginning.rewards), first, config.steps):
        folder.add(report)
        watcher.add(report.metrics)
        state = report.state
        if report.step == min(first + 1, config.steps - 1):  # the first step waits for workers that are still loading
            seconds = evaluation_seconds(beginning, pools, report.metrics)
            display.say(f"the evaluation after the last step will take about {seconds:.0f} s")
    beginning.rewards.close()
    return state


def evaluation_line(plan: Plan) -> str:
    """The size of the evaluation after the last step."""
    evaluation, prompts = plan.settings.evaluation, len(plan.held_out)
    samples = evaluation.samples
    return (
        f"after training, {POLICIES} policies are evaluated on {prompts} held-out prompts: {samples} sampled summaries "
        f"and one by {evaluation.decoding.title} for each, {POLICIES * prompts * (samples + 1):,} in total "
        f"(evaluation.rows, evaluation.samples)"
    )


def evaluation_seconds(beginning: Beginning, pools: Pools, metrics: Mapping[str, float]) -> float:
    """Estimate of the evaluation's duration, at the pace of a training step without its update."""
    config = beginning.config
    alone = metrics["time/step"] - metrics["time/learner"] / config.workers.learner
    # If the update overlaps with sampling, that is too low. No evaluation is faster than workers that are always busy.
    workers = sum(getattr(pools, role).workers for role in EVALUATION_ROLES)
    together = sum(metrics[f"time/{role}"] for role in EVALUATION_ROLES) / workers
    pace = max(alone, together) / config.rollout.batch_size
    return POLICIES * len(beginning.plan.held_out) * (config.evaluation.samples + 1) * pace


@contextmanager
def _after_training(path: Path) -> Iterator[None]:
    """Turns unexpected errors into a `RunError` that points to the trained adapter."""
    try:
        yield
    except (RunError, OSError):
        raise
    except Exception as error:
        raise RunError(
            f"{path / 'adapter'} is trained, but the evaluation or report failed: {type(error).__name__}: {error}"
        ) from error


def _facts(initial: Start, beginning: Beginning, first: dict[str, Any]) -> dict[str, Any]:
    """Facts for the report besides the evaluation."""
    return {
        # The ratio gap is None if the first step's update was rejected.
        "checks": {"first_kl": first["objective/kl"], "first_ratio_gap": first.get("policy/first_ratio_gap")},
        "model": initial.model,
        "seconds": time.perf_counter() - beginning.began,
        "resumed_after_step": beginning.resumed.version if beginning.resumed else None,
        "data": beginning.plan.counts(),
    }


def model_line(model: dict[str, Any]) -> str:
    """Trainable and total parameters, as peft prints them, and with the value head."""
    share = 100 * model["trainable"] / model["total"]
    return (
        f"policy in {model['dtype']}: {model['trainable']:,} of {model['total']:,} parameters are trainable "
        f"({share:.2f}%), {model['trainable_with_value_head']:,} with the value head"
    )
