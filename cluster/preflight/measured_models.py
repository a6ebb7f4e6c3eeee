"""Checks of models that `train-reward` has made, by the reward_model.json beside their weights."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from configs.base import Strict
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


class Measured(Strict):
    """What of reward_model.json decides whether the model is used."""

    model_config = ConfigDict(extra="ignore")

    accuracy: float
    min_accuracy: float
    text: str


def _read(model: str) -> Measured | None:
    """What is known of the model; None for one from elsewhere. Raises `UsageError` if the file is broken."""
    file = Path(model) / RESULT
    if not file.is_file():
        return None
    try:
        return Measured.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise UsageError(f"{file}: is not as train-reward wrote it; restore it, or train the model again") from error


def _problems(field: str, place: str, part: ClassifierReward | EnsembleReward, found: Measured | None) -> list[str]:
    if found is None:
        return []
    problems = []
    if found.text != part.text:
        problems.append(f"{place} has learnt to score {found.text}; set --{field}.text {found.text}")
    if found.accuracy < found.min_accuracy and not part.force:
        problems.append(
            f"{place} agrees with {found.accuracy:.1%} of the held-out preferences, below its min_accuracy of "
            f"{found.min_accuracy:.1%}: a policy would learn its errors; collect more pairs, or use it all the "
            f"same with --{field}.force true"
        )
    return problems
