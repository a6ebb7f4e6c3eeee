"""What can be known before anything starts: every problem of a config in one message, without loading a model."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from cluster.plan import Plan
from cluster.preflight.data import check_prompts, make_plan, read_run_splits, too_few
from cluster.preflight.hub import answers, go_offline, hub_is_reachable
from cluster.preflight.models import (
    check_extras,
    check_judge,
    check_lengths,
    check_policy,
    check_reach,
    check_reward,
    check_targets,
    check_tokenizer,
)
from cluster.run_files import LOCK, SIZES, STATUS
from configs.errors import UsageError
from configs.schema import Config
from learner.policy import Policy
from workers.data.prompts import make_prompts, read_rows

MIN_FREE = 200e6
"""Bytes of disk without which no run is begun: a few checkpoints of a small model, and its report."""


def preflight(config: Config, resume: Path | None = None, learns: bool = True) -> Plan:
    """Check models, labels, adapter, data and output folder, and make the plan of the run.

    `resume` is the folder of a run that goes on; it then holds something already. Of a policy that learns, every
    adapted layer must receive a gradient.

    Raises `UsageError` with all that is wrong.
    """
    _reach_hub(config, config.reward.model)
    problems: list[str] = []
    for check in (check_reward, check_judge, check_extras, check_cluster, _check_trackers):
        collect(problems, check, config)
    if not resume:
        collect(problems, check_out, config)
    collect(problems, check_disk, resume or Path(config.out or "."))
    policy, tokenizer = _policy_and_tokenizer(problems, config, learns=learns and not resume)
    splits = collect(problems, read_run_splits, config)
    plan = collect(problems, make_plan, config, tokenizer, splits) if tokenizer and splits else None
    if policy and plan:
        collect(problems, check_prompts, config, policy, [*plan.train, *plan.held_out])
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return plan


def check_serving(config: Config) -> None:
    """The same for a service, of its two models. Raises `UsageError` with all that is wrong."""
    _reach_hub(config, config.reward.model)
    problems: list[str] = []
    collect(problems, check_reward, config)
    bare = config.model_copy(update={"policy": config.policy.model_copy(update={"adapter": None})})
    _policy_and_tokenizer(problems, bare, learns=False)
    if problems:
        raise UsageError(*dict.fromkeys(problems))


def _reach_hub(config: Config, *more: str) -> None:
    names = [config.policy.model, config.policy.adapter, config.data.path, *more]
    if any(name and not Path(name).exists() for name in names) and not hub_is_reachable():
        go_offline()


def _policy_and_tokenizer(
    problems: list[str], config: Config, learns: bool
) -> tuple[Policy | None, PreTrainedTokenizerBase | None]:
    policy, tokenizer = collect(problems, check_policy, config), collect(problems, check_tokenizer, config)
    if policy and tokenizer:
        collect(problems, check_lengths, config, policy, tokenizer)
    if policy and learns:
        collect(problems, check_reach, config, policy)
    return policy, tokenizer


def check_training(config: Config, resume: Path | None = None) -> None:
    """The same for supervised fine-tuning, which asks for no reward. Raises `UsageError` with all that is wrong."""
    _reach_hub(config)
    problems: list[str] = []
    for check in (check_cluster, _check_workers):
        collect(problems, check, config)
    if not resume:
        collect(problems, check_out, config)
    collect(problems, check_disk, resume or Path(config.out or "."))
    policy, tokenizer = _policy_and_tokenizer(problems, config, learns=not resume)
    if policy and tokenizer:
        collect(problems, check_targets, config, policy, tokenizer)
    for split in (config.data.train_split, config.data.validation_split):
        rows = collect(problems, read_rows, config.data, split)
        prompts = make_prompts(rows, config.data, tokenizer) if tokenizer and rows is not None else None
        if prompts is not None and not prompts:
            problems.append(too_few(config.data, split, 0, 1))
        if policy and prompts:
            collect(problems, check_prompts, config, policy, prompts)
    if problems:
        raise UsageError(*dict.fromkeys(problems))


def _check_trackers(config: Config) -> None:
    """Raises `UsageError` naming each tracker whose package is not installed."""
    missing = [name for name in config.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(*[f"trackers: {name} is not installed; install it by: pip install {name}" for name in missing])


def _check_workers(config: Config) -> None:
    sft, inline = config.sft, config.cluster.backend == "inline"
    if sft.batch_size % sft.workers:
        raise UsageError(f"sft.batch_size ({sft.batch_size}) must be a multiple of sft.workers ({sft.workers})")
    if inline and sft.workers > 1:
        raise UsageError(f"sft.workers: {sft.workers}, but cluster.backend inline has one process; leave one out")


def collect(problems: list[str], check: Callable[..., Any], *arguments: Any) -> Any:
    """What a check returns; None, and what is wrong among `problems`, where it raises `UsageError`."""
    try:
        return check(*arguments)
    except UsageError as error:
        problems.extend(error.problems)


def check_out(config: Config) -> None:
    """Make the folder now: whether that can be done is only known by doing it."""
    if config.out is None:
        return
    try:
        Path(config.out).mkdir(parents=True, exist_ok=True)
        used = any(not _is_trace(path) for path in Path(config.out).iterdir())
    except (OSError, ValueError) as error:
        raise UsageError(f"out: {config.out!r} cannot be made a folder: {error}") from error
    if used:
        raise UsageError(f"out: {config.out} exists and is not an empty folder; name a new one")


def _is_trace(path: Path) -> bool:
    """True for what a run that came to nothing may have left, also where it was killed over it."""
    return path.name.removeprefix(".").removesuffix(".writing") in (SIZES, STATUS, LOCK)


def check_disk(folder: Path) -> None:
    """Raises `UsageError` where the disk of the folder is nearly full."""
    there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(there).free
    if free < MIN_FREE:
        raise UsageError(f"out: {free / 1e6:.0f} MB are free on the disk of {there}; make room or name another folder")


def check_cluster(config: Config) -> None:
    """Ray itself would try a wrong address for many minutes."""
    address = config.cluster.address or os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if config.cluster.backend == "ray" and port.isdigit() and not answers(host, int(port)):
        raise UsageError(
            f"cluster.address: nothing answers at {address}; give the address that `ray start --head` printed"
        )
