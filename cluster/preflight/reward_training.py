"""Checks before a reward model is trained."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from cluster.preflight.environment import check_cluster, check_train_workers
from cluster.preflight.hub import load_named
from cluster.preflight.models import TOKENIZER, WEIGHTS
from cluster.preflight.preflight import check_output, choose_hub_access, collect, raise_all
from cluster.reward_plan import FIELD, RewardPlan, body
from configs.errors import UsageError
from configs.schema import Config
from learner.preferences.reward_body import with_lora


def check_reward_training(config: Config, resume: Path | None = None) -> RewardPlan:
    """The plan of learning a reward model. Raises `UsageError` with all problems."""
    problems: list[str] = []
    collect(problems, check_cluster, config)
    collect(problems, check_train_workers, config, "reward_training")
    check_output(problems, config, resume)
    model = collect(problems, _check_model, config)
    plan = collect(problems, _check_pairs, config)
    if model and plan:
        collect(problems, _check_body, plan)
    raise_all(problems)
    return plan


def _check_model(config: Config) -> str:
    model = body(config)
    choose_hub_access(config, model)
    load_named(FIELD, model, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    load_named(FIELD, model, AutoTokenizer.from_pretrained, TOKENIZER)
    return model


def _check_pairs(config: Config) -> RewardPlan:
    if not config.reward_training.pairs:
        raise UsageError("reward_training.pairs: is required; name a file of pairs by --pairs")
    return RewardPlan.of(config)


def _check_body(plan: RewardPlan) -> None:
    """Raises `UsageError` if the model cannot become a reward model, or lacks the layers to adapt."""
    training, found = plan.config.reward_training, plan.reader.body
    if training.lora:
        with_lora("reward_training.lora", found, training.lora, body(plan.config))
