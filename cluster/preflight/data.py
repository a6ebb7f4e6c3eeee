"""Checks of the data before anything starts, and the plan made from it."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from cluster.plan import Plan, PlanSettings
from configs.data import DataConfig
from configs.errors import UsageError
from configs.schema import Config
from learner.family import read_prefix
from learner.model_limits import completion_positions, prompt_positions
from learner.policy import Policy
from workers.data.prompts import Prompt, Row, make_prompts, read_rows


def read_run_splits(config: Config) -> list[list[Row]]:
    """Rows of the training split and of the held-out split. Raises `UsageError` if these are the same."""
    data = config.data
    if data.train_split == data.eval_split:
        raise UsageError(
            f"data.eval_split: {data.eval_split!r} is also the training split; evaluate on held-out dialogues"
        )
    return [read_rows(data, split, config.algorithm.prompt_groups) for split in (data.train_split, data.eval_split)]


def own_prefix(config: Config) -> tuple[int, ...]:
    """What the policy's decoder reads before a completion; (), unread, if the data say nothing about that."""
    return read_prefix("policy.model", config.policy.model) if config.data.begins_completions else ()


def check_prompts(config: Config, policy: Policy, prompts: Sequence[Prompt]) -> None:
    """Raises `UsageError` if a prompt, or a completion after its prefix, exceeds the policy's positions."""
    limit, longest = prompt_positions(policy.network), max((len(p.token_ids) for p in prompts), default=0)
    if limit and longest > limit:
        raise UsageError(
            f"data.max_prompt_tokens: {config.policy.model} has positions for {limit} tokens, and a prompt has "
            f"{longest}; set it to {limit} or less, which leaves out longer prompts"
        )
    prefix = max((len(prompt.decoder_prefix) for prompt in prompts), default=0)
    limit = completion_positions(policy.network, prefix) if prefix else None
    if limit is not None and config.rollout.max_new_tokens > limit:
        raise UsageError(
            f"data.target_prefix: after {prefix} tokens of context, {config.policy.model} has positions for {limit} "
            f"more; lower rollout.max_new_tokens ({config.rollout.max_new_tokens}) or shorten it"
        )


def too_few(data: DataConfig, split: str, count: int, needed: int) -> str:
    """The message for a split with only `count` usable dialogues."""
    return (
        f"data: {count} dialogues of {data.path} ({split}) have {data.min_chars}-{data.max_chars} characters and at "
        f"most {data.max_prompt_tokens} tokens, {needed} are needed; widen the filter (data.min_chars, data.max_chars) "
        f"or lower rollout.batch_size"
    )


def make_plan(config: Config, tokenizer: PreTrainedTokenizerBase, splits: list[list[Row]]) -> Plan:
    """The run's plan. Raises `UsageError` if a split has too few prompts, or a weighted group has none."""
    data, group_by = config.data, config.algorithm.prompt_groups
    prefix = own_prefix(config)
    train, held_out = (make_prompts(rows, data, tokenizer, group_by, prefix) for rows in splits)
    for split, prompts, needed in [
        (data.train_split, train, config.rollout.batch_size // config.algorithm.completions_per_prompt),
        (data.eval_split, held_out, 2),
    ]:
        if len(prompts) < needed:
            raise UsageError(too_few(data, split, len(prompts), needed))
    unknown = set(getattr(config.algorithm, "group_weights", {})) - {prompt.group for prompt in train}
    if unknown:
        raise UsageError(f"algorithm.group_weights: no prompt is in a group called {', '.join(sorted(unknown))}")
    return Plan(plan_settings(config), train, held_out)


def plan_settings(config: Config) -> PlanSettings:
    """Settings of the plan, taken from a run's config."""
    return PlanSettings(
        seed=config.seed,
        batch_size=config.rollout.batch_size,
        unit_size=config.rollout.unit_size,
        group_size=config.algorithm.completions_per_prompt,
        evaluation=config.evaluation,
    )
