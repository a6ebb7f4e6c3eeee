"""start.json: which weights and data a run started with, checked whenever it resumes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.driver import Start
from cluster.plan import Plan
from cluster.preferences.plan import PreferencePlan
from configs.errors import RunError, UsageError
from configs.load import flat_settings
from configs.schema import Config
from learner.atomic_files import replace_file

FILE = "start.json"
MAX_FINGERPRINT_GAP = {"float32": 0.01, "bfloat16": 0.1}
"""Difference of log-probabilities, in nats, that other hardware may cause with the same weights, by their data type."""
DATA_SETTINGS = ("data.", "algorithm.type", "algorithm.group_by", "policy.model")
"""Prefixes of the settings that determine a run's prompts and their groups."""


def read_start(folder: Path) -> dict[str, Any]:
    """The record; empty if the run has not started."""
    file = folder / FILE
    return json.loads(file.read_bytes()) if file.exists() else {}


def record_start(folder: Path, config: Config, initial: Start, plan: Plan | PreferencePlan) -> None:
    """Write the record, or update it for a resumed run. Raises `RunError` if the weights have changed."""
    weights = {"fingerprint": initial.model["fingerprint"], "dtype": initial.model["dtype"]}
    if before := read_start(folder):
        first = {"fingerprint": before["fingerprint"], "dtype": before.get("dtype", "bfloat16")}  # not always recorded
        _check_weights(folder, first, weights)
        weights = first  # from the first start, so that small gaps do not add up
    facts = {**weights, "data_sha256": plan.sha256(), **plan.hashes}
    facts |= {"settings": data_settings(config), "data": plan.counts()}
    replace_file(folder / FILE, json.dumps(facts).encode())


def _check_weights(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    gap = max(abs(a - b) for a, b in zip(before["fingerprint"], now["fingerprint"], strict=True))
    if not gap <= max(MAX_FINGERPRINT_GAP[weights["dtype"]] for weights in (before, now)):
        raise RunError(
            f"policy.model, policy.adapter: not the weights that {folder} started with (log-probabilities differ by "
            f"{gap:.2g}); restore them, or start a new run"
        )


def check_data(folder: Path, config: Config, plan: Plan, say: Callable[[str], None]) -> None:
    """Raises `UsageError` if the dialogues have changed since the run started but none of `data_settings` has."""
    before, now, data = read_start(folder), data_settings(config), config.data
    for name, what, split in (
        ("train_rows_sha256", "training", data.train_split),
        ("held_out_rows_sha256", "held-out", data.eval_split),
    ):
        if before.get(name, plan.hashes[name]) == plan.hashes[name]:  # earlier versions did not write them
            continue
        changed = [key for key, value in now.items() if before["settings"].get(key) != value]
        if not changed:
            raise UsageError(
                f"data.path: the {what} dialogues (split {split}) are not the ones that {folder} started with; restore "
                f"them, or start a new run"
            )
        say(f"the {what} dialogues differ from here on because of changed settings: {', '.join(changed)}")


def data_settings(config: Config) -> dict[str, Any]:
    """The settings that determine a run's prompts and their groups, by dotted name."""
    known = flat_settings(config.model_dump(mode="json"))
    return {name: value for name, value in known if name.startswith(DATA_SETTINGS)}
