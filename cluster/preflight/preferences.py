"""Checks of learning from preferences before anything starts, and the plan made from the pairs."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from cluster.preferences.plan import PreferencePlan, PreferencePlanSettings
from cluster.preflight.data import check_positions
from cluster.preflight.environment import check_cluster, check_trackers
from cluster.preflight.preflight import check_output, choose_hub_access, collect, policy_and_tokenizer, raise_all
from configs.dpo import KTO
from configs.errors import UsageError
from configs.schema import Config
from learner.family import end_ids, read_prefix
from learner.policy import Policy
from learner.preferences.pairs import Preference, Rating
from workers.data.languages import decoder_prefix
from workers.preferences.examples import Form, as_ratings, held_out_prompts, make_examples, with_others
from workers.preferences.files import read_preferences, read_ratings


def check_preferences(config: Config, resume: Path | None = None) -> PreferencePlan:
    """The plan of a run, after checks of its model, adapter, pairs, cluster and output folder.

    `resume` is the folder of a resumed run. Raises `UsageError` with all problems.
    """
    choose_hub_access(config)
    problems: list[str] = []
    for check in (check_cluster, check_trackers, check_workers):
        collect(problems, check, config)
    check_output(problems, config, resume)
    policy, tokenizer = policy_and_tokenizer(problems, config, learns=not resume)
    rows = collect(problems, read_rows, config)
    plan = collect(problems, make_plan, config, policy, tokenizer, rows) if policy and tokenizer and rows else None
    raise_all(problems)
    return plan


def check_workers(config: Config) -> None:
    """Raises `UsageError` if there shall be several learners in one process."""
    if config.cluster.backend == "inline" and config.dpo.workers > 1:
        raise UsageError(
            f"dpo.workers: {config.dpo.workers}, but cluster.backend inline has one process; leave one out"
        )


def read_rows(config: Config) -> list[Preference | Rating]:
    """The pairs or ratings, as the loss needs them. Raises `UsageError` if there are none, or of the wrong kind."""
    dpo, kto = config.dpo, isinstance(config.dpo.loss, KTO)
    if bool(dpo.pairs) == bool(dpo.ratings):
        raise UsageError(
            "dpo.pairs: name a file of pairs with --pairs, or of single completions with thumbs with --ratings"
            + (", not both" if dpo.pairs else "")
        )
    if dpo.ratings and not kto:
        raise UsageError(
            f"dpo.ratings: the loss {dpo.loss.type} compares two completions of a prompt; learn from thumbs with "
            f"--dpo.loss.type kto, or name pairs with --pairs"
        )
    if dpo.ratings:
        rows: Sequence[Preference | Rating] = read_ratings(dpo.ratings, "dpo.ratings")
    else:
        pairs = read_preferences(dpo.pairs, "dpo.pairs")
        rows = as_ratings(pairs) if kto else pairs
    if not rows:
        raise UsageError(f"dpo.pairs: {dpo.pairs or dpo.ratings} holds nothing to learn from")
    return list(rows)


def make_plan(
    config: Config, policy: Policy, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Preference | Rating]
) -> PreferencePlan:
    """The run's plan. Raises `UsageError` if too little can be learnt from, or a prompt is too long for the policy."""
    dpo, data = config.dpo, config.data
    if data.src_lang_column or data.tgt_lang_column:
        raise UsageError("data.src_lang_column, data.tgt_lang_column: pairs have no such columns; set one language")
    own = read_prefix("policy.model", config.policy.model)
    prefix = decoder_prefix(own, tokenizer, data.tgt_lang, data.target_prefix)
    ends, limits = (
        end_ids("policy.model", policy.network, tokenizer),
        (data.max_prompt_tokens, config.rollout.max_new_tokens),
    )
    form = Form(tokenizer, prefix or own, ends[0], *limits, data.src_lang, dpo.loss.with_ties)
    found = make_examples(rows, form)
    kept_out = held_out_prompts(found.items, dpo.held_out, config.seed)
    train, held_out = ([e for e in found.items if (e.prompt in kept_out) == out] for out in (False, True))
    where = "dpo.ratings" if dpo.ratings else "dpo.pairs"
    if not train:
        raise UsageError(f"{where}: nothing of {dpo.ratings or dpo.pairs} can be learnt from: {found}")
    check_positions(config, policy, max(len(example.prompt_ids) for example in found.items), len(prefix))
    if isinstance(dpo.loss, KTO):
        if len({example.prompt for example in train}) < 2:
            raise UsageError(f"{where}: kto needs completions of at least two prompts, to compare them with each other")
        train, held_out = with_others(train, config.seed), with_others(held_out, config.seed)
    settings = PreferencePlanSettings(config.seed, dpo.batch_size, dpo.microbatch_size, dpo.epochs, prefix)
    return PreferencePlan(settings, found, train, held_out)
