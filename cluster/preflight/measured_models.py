"""Checks of models that `train-reward` has made, by the reward_model.json beside their weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import UsageError
from configs.reward_parts import ClassifierReward, EnsembleReward
from configs.rewards import AnyPart, models_of

RESULT = "reward_model.json"
"""Measures of a reward model."""


def check_measured(parts: Mapping[str, AnyPart]) -> None:
    """Raises `UsageError` for models that rank too few held-out pairs as people did, or are given another text."""
    problems = []
    for name, part in parts.items():
        if isinstance(part, ClassifierReward | EnsembleReward):
            for field, model in models_of("reward.parts", {name: part}):
                problems += _problems(f"reward.parts.{name}", f"{field}.model: {model.model}", part, _read(model.model))
    if problems:
        raise UsageError(*dict.fromkeys(problems))


def _read(model: str) -> dict[str, Any]:
    """What is known of the model; empty for one from elsewhere. Raises `UsageError` if the file is broken."""
    file = Path(model) / RESULT
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else {}
        if found:
            float(found["accuracy"]), float(found["min_accuracy"]), str(found["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: is not as train-reward wrote it; restore it, or train the model again") from error
    return found


def _problems(field: str, place: str, part: ClassifierReward | EnsembleReward, found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    problems = []
    if found["text"] != part.text:
        problems.append(f"{place} has learnt to score {found['text']}; set --{field}.text {found['text']}")
    if found["accuracy"] < found["min_accuracy"] and not part.force:
        problems.append(
            f"{place} agrees with {found['accuracy']:.1%} of the held-out preferences, below its min_accuracy of "
            f"{found['min_accuracy']:.1%}: a policy would learn its errors; collect more pairs, or use it all the "
            f"same with --{field}.force true"
        )
    return problems
