"""Checks of the data before anything starts, and the plan made from it."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from cluster.plan import Plan, PlanSettings
from configs.data import DataConfig
from configs.errors import UsageError
from configs.schema import Config
from learner.family import read_prefix
from learner.model_limits import completion_positions, prompt_positions
from learner.policy import Policy
from workers.data.prompts import Kept, Prompt, Row, make_prompts, read_rows


def read_run_splits(config: Config) -> list[Kept[Row]]:
    """Rows of the training split and of the held-out split. Raises `UsageError` if these share any."""
    data = config.data
    if data.train_split == data.eval_split:
        raise UsageError(
            f"data.eval_split: {data.eval_split!r} is also the training split; evaluate on held-out dialogues"
        )
    train, held_out = (
        read_rows(data, split, config.algorithm.prompt_groups) for split in (data.train_split, data.eval_split)
    )
    places = {row.first.place for row in train}
    if shared := [row.first.place for row in held_out if row.first.place in places]:
        raise UsageError(
            f"data.eval_split: {data.eval_split!r} shares {len(shared)} dialogues with the training split "
            f"{data.train_split!r}, such as {shared[0]}; evaluate on held-out dialogues"
        )
    return [train, held_out]


def own_prefix(config: Config) -> tuple[int, ...]:
    """What the policy's decoder reads before a completion; (), unread, if the data say nothing about that."""
    return read_prefix("policy.model", config.policy.model) if config.data.begins_completions else ()


def check_prompts(config: Config, policy: Policy, prompts: Sequence[Prompt]) -> None:
    """Raises `UsageError` if a prompt, or a completion after its prefix, exceeds the policy's positions."""
    longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
    check_positions(config, policy, longest, max((len(prompt.decoder_prefix) for prompt in prompts), default=0))


def check_positions(config: Config, policy: Policy, longest: int, prefix: int) -> None:
    """As `check_prompts`, given the tokens of the longest prompt and of the longest prefix, 0 if it is the model's."""
    limit = prompt_positions(policy.network)
    if limit and longest > limit:
        raise UsageError(
            f"data.max_prompt_tokens: {config.policy.model} has positions for {limit} tokens, and a prompt has "
            f"{longest}; set it to {limit} or less, which leaves out longer prompts"
        )
    limit = completion_positions(policy.network, prefix) if prefix else None
    if limit is not None and config.rollout.max_new_tokens > limit:
        raise UsageError(
            f"data.target_prefix: after {prefix} tokens of context, {config.policy.model} has positions for {limit} "
            f"more; lower rollout.max_new_tokens ({config.rollout.max_new_tokens}) or shorten it"
        )


def too_few(data: DataConfig, split: str, prompts: Kept[Prompt], needed: int) -> str:
    """The message for a split with too few usable dialogues."""
    return (
        f"data: {len(prompts)} dialogues of {data.path} ({split}) have {data.min_chars}-{data.max_chars} characters, "
        f"at most {data.max_prompt_tokens} tokens{' and a reference' if data.reference_column else ''}, {needed} are "
        f"needed; widen the filter "
        f"(data.min_chars, data.max_chars, data.max_prompt_tokens) or lower rollout.batch_size ({prompts})"
    )


def data_lines(splits: Mapping[str, Kept[Prompt]]) -> list[str]:
    """A line for each split: how many prompts it has, and how many rows are left out and why.

    One more for each split whose prompts are also in the first, the training split.
    """
    lines = [f"{split}: {prompts}" for split, prompts in splits.items()]
    texts = [{prompt.text for prompt in prompts} for prompts in splits.values()]
    for split, others in list(zip(splits, texts, strict=True))[1:]:
        if shared := len(others & texts[0]):
            lines.append(f"{shared:,} prompts of {split} are also training prompts")
    return lines


def make_plan(config: Config, tokenizer: PreTrainedTokenizerBase, splits: list[Kept[Row]]) -> Plan:
    """The run's plan. Raises `UsageError` if a split has too few prompts, or a weighted group has none."""
    data, group_by = config.data, config.algorithm.prompt_groups
    prefix = own_prefix(config)
    train, held_out = (make_prompts(rows, data, tokenizer, group_by, prefix) for rows in splits)
    for split, prompts, needed in [
        (data.train_split, train, config.rollout.batch_size // config.algorithm.completions_per_prompt),
        (data.eval_split, held_out, 2),
    ]:
        if len(prompts) < needed:
            raise UsageError(too_few(data, split, prompts, needed))
    unknown = set(getattr(config.algorithm, "group_weights", {})) - {prompt.group for prompt in train}
    if unknown:
        raise UsageError(f"algorithm.group_weights: no prompt is in a group called {', '.join(sorted(unknown))}")
    return Plan(plan_settings(config), train, held_out, {data.train_split: train, data.eval_split: held_out})


def plan_settings(config: Config) -> PlanSettings:
    """Settings of the plan, taken from a run's config."""
    return PlanSettings(
        seed=config.seed,
        batch_size=config.rollout.batch_size,
        unit_size=config.rollout.unit_size,
        group_size=config.algorithm.completions_per_prompt,
        evaluation=config.evaluation,
    )
