"""Summaries of held-out prompts by each policy, saved unit by unit so that an evaluation can be resumed."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cluster.driver import judge
from cluster.plan import Plan
from cluster.pools.interface import Pools
from configs.schema import Config
from learner.adapter import tensors_sha256
from learner.atomic_files import replace_file
from learner.types import PolicyState, WorkUnit
from service.run.progress import Display
from service.run.step_log import without_nan

FOLDER = "evaluation"
PROMPTS = f"{FOLDER}/prompts.json"


class SummaryFile:
    """`evaluation/<policy>.jsonl`: a header line of facts, then a line per unit. Reset if its facts differ."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        head, whole = json.dumps(facts), []
        self.units: dict[tuple[int, int], list[dict[str, Any]]] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and lines[0].strip() == head.encode():
            whole = [line for line in lines[1:] if line.endswith(b"\n")]  # the last may be incomplete
            self.units = {tuple(line["unit"]): line["summaries"] for line in map(json.loads, whole)}
        path.write_bytes(b"".join([head.encode() + b"\n", *whole]))
        self.file = path.open("a", encoding="utf-8")

    def add(self, unit: WorkUnit, summaries: list[dict[str, Any]]) -> None:
        """Save the summaries of a unit."""
        self.units[unit.key] = summaries
        decoding = unit.decoding.type if unit.decoding else "sampled"
        line = {"unit": unit.key, "decoding": decoding, "summaries": without_nan(summaries)}
        self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Flush to disk and close."""
        os.fsync(self.file.fileno())
        self.file.close()


def judge_policies(
    folder: Path,
    plan: Plan,
    pools: Pools,
    policies: Mapping[str, PolicyState],
    config: Config,
    display: Display,
) -> pd.DataFrame:
    """Evaluate every policy on the units that the folder does not hold yet; returns a row per summary."""
    settings = summary_settings(config)
    (folder / FOLDER).mkdir(exist_ok=True)
    prompts = [{"topic": prompt.topic, "references": prompt.references} for prompt in plan.held_out]
    replace_file(folder / PROMPTS, json.dumps(prompts).encode())
    baseline = policies[plan.settings.evaluation.baseline or next(iter(policies))]
    for name, policy in policies.items():
        adapters = {"adapter": tensors_sha256(policy.adapter), "baseline": tensors_sha256(baseline.adapter)}
        facts = {**adapters, "data": plan.sha256(), **settings}
        summaries = SummaryFile(folder / FOLDER / f"{name}.jsonl", facts)
        left = [unit for unit in plan.evaluation_units() if unit.key not in summaries.units]
        for unit, rows in display.track(
            judge(left, pools, policy, baseline, config.reward), len(left), f"evaluating {name}"
        ):
            summaries.add(unit, rows)
        summaries.close()
    return read_summaries(folder, list(policies))


def summary_settings(config: Config) -> dict[str, Any]:
    """The settings that summaries and their measures depend on."""
    settings = config.model_dump(mode="json", include={"evaluation", "reward"})
    settings["evaluation"].pop("baseline")
    shape = {"model": config.policy.model, "dtype": config.policy.dtype, "tokens": config.rollout.max_new_tokens}
    shape["sampling"] = config.rollout.sampling.model_dump()
    return {"policy": shape, **settings}


def read_summaries(folder: Path, names: list[str]) -> pd.DataFrame:
    """A row per summary: policy, decoding, sample, row, text and its measures, null where unknown."""
    return pd.DataFrame(row for name in names for row in _rows(folder / FOLDER / f"{name}.jsonl", name))


def _rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    # Sorted by unit, because workers finish in any order.
    lines = sorted(map(json.loads, path.read_text(encoding="utf-8").splitlines()[1:]), key=lambda line: line["unit"])
    for line in lines:
        for summary in line["summaries"]:
            yield {"policy": name, "decoding": line["decoding"], "sample": line["unit"][0], **summary}
