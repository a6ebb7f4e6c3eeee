"""Rewards besides the classifier: length, ROUGE, and user-defined functions."""

import importlib
import math
from collections.abc import Callable, Sequence

from configs.rewards import AnyExtra, FunctionReward, LengthReward, RougeReward
from learner.types import Rollouts
from workers.rouge import make_scorer

RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], Sequence[float]]
"""(prompts, completions, references) -> one score per completion."""


LARGEST = 3.4e38
"""Larger scores overflow float32."""


class RewardError(Exception):
    """A reward that failed; the message names it and the sample."""


def make_extra(config: AnyExtra) -> RewardFunction:
    """The reward function of a config. Raises `ValueError` if a user's function cannot be loaded."""
    match config:
        case LengthReward():
            return lambda prompts, texts, references: [-abs(len(t.split()) / config.words - 1) for t in texts]
        case RougeReward():
            scorer = make_scorer([config.variant])
            return lambda prompts, texts, references: [
                scorer(refs, text)[config.variant] for text, refs in zip(texts, references, strict=True)
            ]
        case FunctionReward():
            return load_function(config.function)


def load_function(path: str) -> RewardFunction:
    """The function at module:name."""
    module, name = path.split(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # importing runs the module, which may raise anything
        raise ValueError(f"cannot load function {path}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ValueError(f"{path} is not callable")
    return function


def call_reward(name: str, function: RewardFunction, rollouts: Rollouts, drop: bool) -> list[float]:
    """Scores of one unit; NaN for each sample to be dropped.

    Unless `drop`, raises `RewardError` naming the reward and the first sample for which it raises or returns a
    non-finite number. If no single sample causes the failure, the whole unit fails.
    """
    unit, texts = rollouts.unit, rollouts.texts
    try:
        scores = [float(score) for score in function(unit.prompts, texts, unit.references)]
        reason = f"returned {len(scores)} scores for {len(texts)} completions"
    except Exception as error:  # whatever a user's function raises
        scores, reason = [], f"raised {type(error).__name__}: {error}"
    if len(scores) != len(texts):
        scores, reasons = _one_by_one(function, rollouts, reason)
    else:
        reasons = [f"returned {score}" for score in scores]
    scores = [score if abs(score) <= LARGEST else math.nan for score in scores]
    for row, text, score, why in zip(unit.rows, texts, scores, reasons, strict=True):
        if math.isnan(score) and not drop:
            raise RewardError(
                f"reward {name} {why} (unit {unit.index} of step {unit.step}, row {row}, completion {text!r}); "
                f"fix it, or set reward.on_failure to drop"
            )
    return scores


def _one_by_one(function: RewardFunction, rollouts: Rollouts, reason: str) -> tuple[list[float], list[str]]:
    """Score the samples of a failed unit one by one, to find those that fail; all of them if none does alone."""
    unit, scores, reasons = rollouts.unit, [], []
    for prompt, text, references in zip(unit.prompts, rollouts.texts, unit.references, strict=True):
        try:
            [score] = function([prompt], [text], [references])
            scores.append(float(score))
            reasons.append(f"returned {score}")
        except Exception as error:
            scores.append(math.nan)
            reasons.append(f"raised {type(error).__name__}: {error}")
    if not any(math.isnan(score) for score in scores):
        return [math.nan] * len(scores), [reason] * len(scores)
    return scores, reasons
