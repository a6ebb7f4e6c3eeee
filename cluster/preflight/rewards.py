"""Checks of rewards and metrics before anything starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from cluster.preflight.hub import load_named
from cluster.preflight.measured_models import check_measured
from cluster.preflight.models import TOKENIZER, WEIGHTS, construct
from configs.classifiers import LabelledModel
from configs.errors import UsageError
from configs.evaluation import ClassifierJudge
from configs.reward_change import RewardChange
from configs.reward_parts import FunctionReward, HttpReward, MetricReward, PairReward
from configs.rewards import AnyPart, RewardConfig, models_of
from configs.schema import Config
from learner.pretrained import META
from workers.data.prompts import Prompt
from workers.reward.classifier import Classifier
from workers.reward.function import FunctionScorer
from workers.reward.parts import make_reward


def check_rewards(config: Config) -> None:
    """Raises `UsageError` with the problems of all parts that cannot be used. Models are made without their weights."""
    check_parts("reward.parts", config.reward.parts)
    check_measured(config.reward.parts)


def check_metrics(config: Config) -> None:
    """Raises `UsageError` with the problems of all metrics, and of a second judge, that cannot be used."""
    check_parts("evaluation.metrics", config.evaluation.metrics)
    if isinstance(judge := config.evaluation.second_judge, ClassifierJudge):
        field = "evaluation.second_judge"
        _check_files(field, judge)
        construct(f"{field}.model", Classifier, field, judge, META)


def check_change(change: RewardChange, reward: RewardConfig) -> RewardChange:
    """The change of a running run's reward, with what its model implies. Raises `UsageError` if it cannot be used."""
    field, proposed = f"reward.parts.{change.part}", change.applied_to(reward)
    part, implied = proposed.parts[change.part], {}
    if "model" in change.settings and hasattr(part, "toxicity"):
        implied["toxicity"] = False  # the part that the run started with goes on measuring it
    if "model" in change.settings and "label" not in change.settings and isinstance(part, LabelledModel):
        shape = load_named(f"{field}.model", part.model, AutoConfig.from_pretrained, "config.json", WEIGHTS)
        implied |= {"label": None, "label_is": "good"} if shape.num_labels == 1 else {}
    settings = {**implied, **change.settings}
    proposed = RewardChange(change.part, settings).applied_to(reward)
    changed = {change.part: proposed.parts[change.part]}
    check_parts("reward.parts", changed)
    check_measured(changed)
    values = proposed.parts[change.part].model_dump(mode="json")
    return RewardChange(change.part, {name: values[name] for name in settings})


def check_parts(field: str, parts: Mapping[str, AnyPart]) -> None:
    """Raises `UsageError` with the problems of all parts, which stand in section `field`, that cannot be used."""
    problems: list[str] = []
    for name, part in parts.items():
        try:
            for place, model in models_of(field, {name: part}):
                _check_files(place, model)
            construct(f"{field}.{name}", make_reward, f"{field}.{name}", part, META)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*problems)


def _check_files(field: str, config: LabelledModel) -> None:
    load_named(f"{field}.model", config.model, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    load_named(f"{field}.model", config.model, AutoTokenizer.from_pretrained, TOKENIZER)


def check_columns(config: Config, prompts: list[Prompt]) -> None:
    """Raises `UsageError` if a reward or a metric reads a column that the data does not have."""
    known, problems = prompts[0].row, []
    parts = {f"reward.parts.{name}": part for name, part in config.reward.parts.items()}
    parts |= {f"evaluation.metrics.{name}": part for name, part in config.evaluation.metrics.items()}
    for field, part in parts.items():
        setting, needed = _columns(field, part, known)
        if missing := [column for column in needed if column not in known]:
            columns = ", ".join(known) or "none"
            problems.append(f"{setting}: the data has no column {' and no '.join(missing)}; it has {columns}")
    if problems:
        raise UsageError(*problems)


def _columns(field: str, part: AnyPart, known: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """The setting by which a part reads columns, and their names."""
    match part:
        case PairReward() | MetricReward():
            return f"{field}.source", [part.source] if part.source not in ("prompt", "reference") else []
        case HttpReward():
            return f"{field}.columns", part.columns
        case FunctionReward():
            setting = f"{field}.function"
            return setting, FunctionScorer(setting, part.function).missing(known)
    return field, []
