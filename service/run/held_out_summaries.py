"""Summaries of held-out prompts by each policy, saved unit by unit so that an evaluation can be resumed."""

import json
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
from learner.types import PolicyState
from service.run.progress import Display
from service.run.step_log import without_nan
from service.run.unit_file import UnitFile

FOLDER = "evaluation"
PROMPTS = f"{FOLDER}/prompts.json"


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
        # `evaluation/<policy>.jsonl`
        summaries = UnitFile(folder / FOLDER / f"{name}.jsonl", facts)
        left = [unit for unit in plan.evaluation_units() if unit.key not in summaries.lines]
        judged = judge(left, pools, policy, baseline, config.reward)
        for unit, rows in display.track(judged, len(left), f"evaluating {name}"):
            decoding = unit.decoding.type if unit.decoding else "sampled"
            summaries.add(unit.key, decoding=decoding, summaries=without_nan(rows))
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
