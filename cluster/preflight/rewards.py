"""Checks of the parts of the reward before anything starts."""

from transformers import AutoConfig, AutoTokenizer

from cluster.preflight.hub import load_named
from cluster.preflight.models import TOKENIZER, WEIGHTS, construct
from configs.classifiers import LabelledModel
from configs.errors import UsageError
from configs.evaluation import ClassifierJudge
from configs.reward_parts import FunctionReward, HttpReward
from configs.schema import Config
from learner.pretrained import META
from workers.data.prompts import Prompt
from workers.reward.classifier import Classifier
from workers.reward.function import FunctionScorer
from workers.reward.parts import make_reward


def check_rewards(config: Config) -> None:
    """Raises `UsageError` with the problems of all parts that cannot be used. Models are made without their weights."""
    problems: list[str] = []
    unusable = set()
    for field, model in config.reward.models():
        try:
            _check_files(field, model)
        except UsageError as error:
            problems += error.problems
            unusable.add(field.split(".")[2])
    for name, part in config.reward.parts.items():
        try:
            if name not in unusable:
                construct(f"reward.parts.{name}", make_reward, f"reward.parts.{name}", part, META)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*problems)


def check_judge(config: Config) -> None:
    """Raises `UsageError` if the second judge is a classifier that cannot be used."""
    if isinstance(judge := config.evaluation.second_judge, ClassifierJudge):
        field = "evaluation.second_judge"
        _check_files(field, judge)
        construct(f"{field}.model", Classifier, field, judge, META)


def _check_files(field: str, config: LabelledModel) -> None:
    load_named(f"{field}.model", config.model, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    load_named(f"{field}.model", config.model, AutoTokenizer.from_pretrained, TOKENIZER)


def check_columns(config: Config, prompts: list[Prompt]) -> None:
    """Raises `UsageError` if a part of the reward reads a column that the data does not have."""
    known, problems = prompts[0].row, []
    for name, part in config.reward.parts.items():
        field, needed = f"reward.parts.{name}", []
        if source := getattr(part, "source", None):
            field, needed = f"{field}.source", [source] if source not in ("prompt", "reference") else []
        elif isinstance(part, HttpReward):
            field, needed = f"{field}.columns", part.columns
        elif isinstance(part, FunctionReward):
            field = f"{field}.function"
            needed = FunctionScorer(field, part.function).missing(known)
        if missing := [column for column in needed if column not in known]:
            columns = ", ".join(known) or "none"
            problems.append(f"{field}: the data has no column {' and no '.join(missing)}; it has {columns}")
    if problems:
        raise UsageError(*problems)
