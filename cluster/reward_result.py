"""The result of learning a reward model: its directories, and reward_model.json, which says how good it is."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from cluster.preflight.measured_models import RESULT
from cluster.reward_plan import RewardPlan, body
from configs.classifiers import ProbedModel
from configs.errors import RunError
from configs.reward_parts import ClassifierReward, EnsembleReward
from configs.schema import Config
from learner.adapter import tensors_sha256
from learner.atomic_files import replace_file
from learner.preferences.pairs import Preference
from learner.preferences.trainings import MADE, MODEL, TRAININGS
from workers.preferences.ceiling import accuracy_ceiling
from workers.preferences.encoding import both_items
from workers.preferences.reward_quality import ScoredPairs, accuracy, calibration, length_preference, spread
from workers.reward.texts import TextScorer

HELD_OUT = "held_out.jsonl"
"""The held-out pairs with their scores."""
FIELD = "reward_training"


def write_result(plan: RewardPlan, folder: Path, device: str) -> None:
    """Measure what was trained, and write the model's directories and what is known of it. Ends with the trainings
    removed."""
    places = model_places(plan.config, folder)
    made = {name: folder / TRAININGS / name / MODEL for name in plan.sides()}
    measured = _measures(plan, made, torch.device(device))
    scored = measured.pop("scored")
    facts = {name: json.loads((model.parent / MADE).read_bytes()) for name, model in made.items()}
    result = {
        **measured,
        "min_accuracy": plan.config.reward_training.min_accuracy,
        "text": plan.config.reward_training.text,
        "model": body(plan.config),
        "new_layers": facts[plan.members[0]]["new"],
        "steps": sum(fact["steps"] for fact in facts.values()),
        "models_sha256": [model_sha256(made[name]) for name in plan.members],
        "seed": plan.config.seed,
        "torch": torch.__version__,
    }
    replace_file(folder / HELD_OUT, _lines(scored).encode())
    # Before the models: one without its measures would be taken for a classifier from elsewhere.
    for place in dict.fromkeys([folder, *places]):
        place.mkdir(parents=True, exist_ok=True)
        replace_file(place / RESULT, json.dumps(result, indent=2, allow_nan=False).encode())
    for name, place in zip(plan.members, places, strict=True):
        shutil.copytree(made[name], place, dirs_exist_ok=True)
    shutil.rmtree(folder / TRAININGS, ignore_errors=True)


def model_places(config: Config, folder: Path) -> list[Path]:
    """Directories of the models: the folder itself, or those of an ensemble in it."""
    members = config.reward_training.members
    return [folder] if members == 1 else [folder / "members" / str(i) for i in range(members)]


def model_sha256(folder: Path) -> str:
    """Hash of a model's weights. Raises `OSError` or `SafetensorError` if they cannot be read."""
    return tensors_sha256(load_file(folder / "model.safetensors"))


def _measures(plan: RewardPlan, made: dict[str, Path], device: torch.device) -> dict[str, Any]:
    """Everything that is known of the model by its scores."""
    text, held_out = plan.config.reward_training.text, plan.split.held_out
    result = scorer([made[name] for name in plan.members], text, device)
    scored = score(result, held_out)
    alone = {name: accuracy(score(scorer([model], text, device), held_out)) for name, model in made.items()}
    counts = {name: len(pairs) for name, pairs in plan.sides().items()}
    curve = [{"learnt_from": counts[name], **alone[name]} for name in made if name not in plan.members[1:]]
    return {
        **accuracy(scored),
        "ceiling": accuracy_ceiling([*plan.pairs, *(() if plan.own_held_out else held_out)], plan.config.seed),
        "current": accuracy(score(result, plan.current)) if plan.current else None,
        "curve": curve if len(curve) > 1 else [],
        "members": [alone[name]["accuracy"] for name in plan.members],
        "calibration": calibration(scored),
        "length": length_preference(scored),
        "scores": spread(scored),
        "data": plan.counts(),
        "scored": scored,
    }


def scorer(models: Sequence[Path], text: str, device: torch.device) -> TextScorer:
    """The reward by one model, or by an ensemble, as a part of a reward reads them."""
    settings = [{"model": str(model), "dtype": "float32", "probe": None} for model in models]
    if len(models) == 1:
        return TextScorer(FIELD, ClassifierReward(**settings[0], text=text), device)
    return TextScorer(FIELD, EnsembleReward(members=tuple(ProbedModel(**s) for s in settings), text=text), device)


def score(reward: TextScorer, pairs: Sequence[Preference]) -> ScoredPairs:
    """The pairs with the reward's scores. Raises `RunError` if these are not finite."""
    sides = [np.array(reward(side), float) for side in zip(*map(both_items, pairs), strict=True)]
    if not np.isfinite(sides).all():
        raise RunError("the model's scores are not finite numbers: lower reward_training.learning_rate")
    return ScoredPairs(pairs, *sides)


def _lines(scored: ScoredPairs) -> str:
    rows = zip(scored.pairs, scored.chosen, scored.rejected, strict=True)
    return "".join(
        json.dumps({**asdict(pair), "score_chosen": float(chosen), "score_rejected": float(rejected)}) + "\n"
        for pair, chosen, rejected in rows
    )
