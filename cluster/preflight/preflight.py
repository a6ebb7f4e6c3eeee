"""Checks of a config before anything starts: reports all problems at once, and loads no weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from cluster.plan import Plan
from cluster.preflight.data import check_prompts, make_plan, own_prefix, read_run_splits, too_few
from cluster.preflight.environment import check_cluster, check_trackers, check_train_workers
from cluster.preflight.hub import go_offline, hub_is_reachable
from cluster.preflight.models import check_lengths, check_policy, check_reach, check_targets, check_tokenizer
from cluster.preflight.output import check_disk, check_out
from cluster.preflight.rewards import check_columns, check_metrics, check_rewards
from configs.errors import UsageError
from configs.evaluation import EvaluationConfig
from configs.rewards import RewardConfig
from configs.schema import Config
from learner.policy import Policy
from workers.data.prompts import Kept, Prompt, Row, make_prompts, read_rows


def preflight(config: Config, resume: Path | None = None, learns: bool = True) -> Plan:
    """The plan of a run, after checks of its models, labels, adapter, data, cluster and output folder.

    `resume` is the folder of a resumed run, which need not be empty. Where the policy `learns`, every adapted layer
    must receive a gradient. Raises `UsageError` with all problems.
    """
    choose_hub_access(config, *_models(config.reward), *_models(config.evaluation))
    problems: list[str] = []
    for check in (check_rewards, check_metrics, check_cluster, check_trackers):
        collect(problems, check, config)
    check_output(problems, config, resume)
    policy, tokenizer = policy_and_tokenizer(problems, config, learns=learns and not resume)
    splits = collect(problems, read_run_splits, config)
    plan = collect(problems, make_plan, config, tokenizer, splits) if tokenizer and splits else None
    if policy and plan:
        collect(problems, check_prompts, config, policy, [*plan.train, *plan.held_out])
    if plan:
        collect(problems, check_columns, config, plan.train)
    raise_all(problems)
    return plan


def check_training(config: Config, resume: Path | None = None) -> dict[str, Kept[Prompt]]:
    """The checks for supervised fine-tuning, which needs no reward. Raises `UsageError` with all problems.

    Returns what is kept of the training and the validation split.
    """
    choose_hub_access(config)
    problems: list[str] = []
    if config.data.reference_column is None:
        problems.append("data.reference_column: supervised fine-tuning learns from references; name their column")
    collect(problems, check_cluster, config)
    collect(problems, check_train_workers, config, "sft")
    check_output(problems, config, resume)
    policy, tokenizer = policy_and_tokenizer(problems, config, learns=not resume)
    if policy and tokenizer:
        collect(problems, check_targets, config, policy, tokenizer)
    splits = {}
    for split in (config.data.train_split, config.data.validation_split):
        rows = collect(problems, read_rows, config.data, split)
        prompts = collect(problems, _prompts, config, rows, tokenizer) if tokenizer and rows is not None else None
        if prompts is not None and not prompts:
            problems.append(too_few(config.data, split, prompts, 1))
        splits[split] = prompts
        if policy and prompts:
            collect(problems, check_prompts, config, policy, prompts)
    raise_all(problems)
    return splits


def check_serving(config: Config) -> None:
    """The checks for a service, of its policy and reward. Raises `UsageError` with all problems."""
    choose_hub_access(config, *_models(config.reward))
    problems: list[str] = []
    collect(problems, check_rewards, config)
    bare = config.model_copy(update={"policy": config.policy.model_copy(update={"adapter": None})})
    policy_and_tokenizer(problems, bare, learns=False)
    raise_all(problems)


def _prompts(config: Config, rows: Kept[Row], tokenizer: PreTrainedTokenizerBase) -> Kept[Prompt]:
    return make_prompts(rows, config.data, tokenizer, own_prefix=own_prefix(config))


def collect(problems: list[str], check: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a check; if it raises `UsageError`, adds its problems to `problems` and returns None."""
    try:
        return check(*arguments)
    except UsageError as error:
        problems.extend(error.problems)


def raise_all(problems: list[str]) -> None:
    """Raise `UsageError` with the problems, each once, if there are any."""
    if problems:
        raise UsageError(*dict.fromkeys(problems))


def choose_hub_access(config: Config, *more: str) -> None:
    """Go offline if a model or data set is not local and the hub cannot be reached."""
    names = [config.policy.model, config.policy.adapter, config.data.path, *more]
    if any(name and not Path(name).exists() for name in names) and not hub_is_reachable():
        go_offline()


def _models(section: RewardConfig | EvaluationConfig) -> list[str]:
    return [model.model for _, model in section.models()]


def check_output(problems: list[str], config: Config, resume: Path | None) -> None:
    """Add what is wrong with the output folder and its disk."""
    if not resume:
        collect(problems, check_out, config)
    collect(problems, check_disk, resume or Path(config.out or "."))


def policy_and_tokenizer(
    problems: list[str], config: Config, learns: bool
) -> tuple[Policy | None, PreTrainedTokenizerBase | None]:
    """The policy without weights and its tokenizer; adds their problems."""
    policy, tokenizer = collect(problems, check_policy, config), collect(problems, check_tokenizer, config)
    if policy and tokenizer:
        collect(problems, check_lengths, config, policy, tokenizer)
    if policy and learns:
        collect(problems, check_reach, config, policy)
    return policy, tokenizer
