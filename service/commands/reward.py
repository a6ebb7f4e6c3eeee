"""`ray_job.py reward`: change the reward of a running run at the start of one of its steps."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.preflight.hub import go_offline, hub_is_reachable
from cluster.preflight.rewards import check_change
from cluster.run_files import CONFIG
from configs.errors import RunError, UsageError
from configs.installation import COMMAND
from configs.load import validate
from configs.named_sections import split_arguments
from configs.presets import read_yaml
from configs.reward_change import RewardChange, only_classifier
from service.run.lock import is_running
from service.run.progress import silence_libraries
from service.run.reward_changes import described, read_changes, read_refusal, read_versions, request_change
from service.run.step_log import count_steps

PATIENCE = 300.0
"""Seconds to wait for an answer: the run gives it when its next step begins."""


def reward(arguments: list[str]) -> None:
    """Request the change from the run, and print from which step on it counts.

    Raises `UsageError` if it cannot be used, `RunError` if the run does not answer.
    """
    given, rest = _parse(arguments)
    folder: Path = given.run
    if not is_running(folder):
        raise UsageError(f"{folder}: no run is running in this folder, as seen from this machine")
    config = validate(read_yaml(str(folder / CONFIG)))
    if count_steps(folder) >= config.steps:
        raise UsageError(f"{folder}: its {config.steps} steps are done: no later one can have another reward")
    now = read_versions(folder, config.reward)[-1].reward
    part = given.part or only_classifier(now)
    change = RewardChange(part, _absolute(_settings(part, rest)))
    if given.at_step is not None and not 0 <= given.at_step < config.steps:
        raise UsageError(f"--at_step: the run has steps 0 to {config.steps - 1}, not {given.at_step}")
    if "model" in change.settings and not Path(change.settings["model"]).exists() and not hub_is_reachable():
        go_offline()
    silence_libraries()
    id = request_change(folder, check_change(change, now), given.at_step)
    _report(folder, id, given.at_step, given.wait)


def _report(folder: Path, id: str, at_step: int | None, patience: float) -> None:
    """Wait for the answer and print it."""
    until = time.monotonic() + patience
    while True:
        running = is_running(folder)  # asked first: a run that ends meanwhile has answered before
        if accepted := next((line for line in read_changes(folder) if line["request"] == id), None):
            print(described(accepted))
            return
        if problems := read_refusal(folder, id):
            raise UsageError(*problems)
        if not running:
            raise RunError("the run ended before it read the request; resumed, it will if it has steps left")
        if time.monotonic() > until and at_step is not None:
            print(f"requested for step {at_step}; the run answers when it comes to it, in its log and rewards.jsonl")
            return
        if time.monotonic() > until:
            raise RunError(f"the run began no step within {patience:g} s; it answers when it does, in its log")
        time.sleep(0.1)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    epilog = "All other options are settings of the part: --model DIR, --label NAME, --weight 0.5, --std_coef 2, ..."
    parser = argparse.ArgumentParser(f"{COMMAND} reward", description=__doc__, epilog=epilog, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--part", help="part of the reward to change; default: the only classifier")
    parser.add_argument("--at_step", type=int, help="step to change it at, from 0; default: the next one that begins")
    parser.add_argument("--wait", type=float, default=PATIENCE, help="seconds to wait for the run's answer")
    return parser.parse_known_args(arguments)


def _settings(part: str, options: list[str]) -> dict[str, Any]:
    """The settings that options name, read as those of a part are on the command line of a run."""
    prefix = f"--reward.parts.{part}."
    dotted = [f"{prefix}{option[2:]}" if option.startswith("--") else option for option in options]
    others, values = split_arguments(dotted)
    if others:
        raise UsageError(f"{others[0]}: is neither an option nor its value; options are --model, --weight and so on")
    return values.get("reward", {}).get("parts", {}).get(part, {})


def _absolute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with absolute paths of models: the run may work in another folder."""
    found = dict(settings)
    if isinstance(model := found.get("model"), str) and Path(model).is_dir():
        found["model"] = str(Path(model).resolve())
    if isinstance(members := found.get("members"), list):
        found["members"] = [_absolute(member) if isinstance(member, dict) else member for member in members]
    return found
