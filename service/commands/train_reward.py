"""`ray_job.py train-reward`: a reward model from preferences."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors import SafetensorError

from cluster.preflight.measured_models import RESULT
from cluster.preflight.reward_training import check_reward_training
from cluster.reward_plan import RewardPlan
from cluster.reward_result import model_places, model_sha256
from configs.errors import RunError, UsageError
from configs.installation import COMMAND
from configs.schema import Config
from learner.atomic_files import replace_file
from learner.preferences.trainings import LOGS
from learner.trainer_log import read_log
from service.report.reward_model import data_lines, part_settings, quality_lines, write_page
from service.run.folder import new_folder, write_config
from service.run.followed import followed
from service.run.lock import lock_folder
from service.run.phase import Phase
from service.run.progress import Display, silence_libraries

PAIRS = "pairs.json"
"""Hash of the pairs with which the training began."""


def train_reward(config: Config, resume: Path | None = None) -> Path:
    """Learn a reward model, or resume a folder's training; prints and returns the folder.

    Raises `UsageError` before anything starts, `RunError` if it fails.
    """
    silence_libraries()
    display = Display(Console(stderr=True))
    path = resume or (Path(config.out) if config.out else new_folder())
    if resume and is_complete(config, path):
        display.say(f"{path} is complete: nothing left to do")
        print(path)
        return path
    with display.phase("checking model and pairs"):
        plan = check_reward_training(config, resume)
    path.mkdir(parents=True, exist_ok=True)
    with lock_folder(path), display.failure_logged():
        display.folder = path
        _check_pairs(plan, path)
        for line in data_lines(plan.counts()):
            display.say(line)
        _train(config, plan, path, display)
        display.done()
    print(path)
    return path


def is_complete(config: Config, folder: Path) -> bool:
    """True if the folder's reward model is measured and its weights have not changed since."""
    try:
        made = json.loads((folder / RESULT).read_bytes())["models_sha256"]
        return made == [model_sha256(place) for place in model_places(config, folder)]
    except (OSError, ValueError, KeyError, SafetensorError):
        return False


def _check_pairs(plan: RewardPlan, path: Path) -> None:
    """Raises `UsageError` if training began with other pairs: a model must not have learnt what now measures it."""
    file, facts = path / PAIRS, {"sha256": plan.sha256()}
    if file.exists() and json.loads(file.read_bytes()) != facts:
        raise UsageError(f"reward_training.pairs: the pairs have changed since {path} was begun; begin a new folder")
    replace_file(file, json.dumps(facts).encode())


def _train(config: Config, plan: RewardPlan, path: Path, display: Display) -> None:
    from cluster.reward_training import run_reward_training  # here, because Ray Train takes seconds to load

    write_config(path, config)
    began, names = time.perf_counter(), list(plan.sides())

    def read() -> list[dict[str, Any]]:
        return [line for name in names for line in read_log(path / LOGS / f"{name}.jsonl")]

    if read():
        display.say(f"resuming {path} from its newest checkpoint")
    with display.phase("training") as phase, followed(read, Lines(read()).show, display, phase):
        try:
            run_reward_training(config, path)
        except (RunError, KeyboardInterrupt):
            display.say(f"progress is saved; resume with: {COMMAND} train-reward --resume {path}")
            raise
    write_page(path)
    result = json.loads((path / RESULT).read_bytes())
    display.say(f"{result['steps']} steps in {time.perf_counter() - began:.0f} s")
    for line in quality_lines(result):
        display.say(line)
    display.say(f"page: {path / 'reward_model.html'}")
    settings = part_settings(result, model_places(config, path))
    display.say(f"use it with: {COMMAND} --reward.parts.learned '{json.dumps(settings)}'")


class Lines:
    """The trainings' logs in words."""

    def __init__(self, seen: Sequence[dict[str, Any]]) -> None:
        """`seen` was written before an interruption."""
        self.first = next((line for line in reversed(seen) if "training" in line), {})

    def show(self, line: dict[str, Any], phase: Phase) -> str:
        """What a line of a log says."""
        if "training" in line:
            self.first = line
        phase.reach(self.first["before"] + line["step"], self.first["of_all"])
        place = f"{self.first['training']}, step {line['step']}/{line['of']}"
        if "training" in line:
            new = ", ".join(line["new"]) or "none"
            return (
                f"{self.first['training']}: {line['trainable']:,} of {line['total']:,} parameters are trained; "
                f"new layers: {new}"
            )
        if "eval_loss" in line:
            return f"{place}  held-out accuracy {line.get('eval_accuracy', 0.5):.3f}  loss {line['eval_loss']:.3f}"
        return f"{place}  loss {line['loss']:.3f}  learning rate {line['learning_rate']:.2g}"
