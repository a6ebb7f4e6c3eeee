"""What is checked of policy, adapter, tokenizers, reward and judges before anything starts: by the constructors that
the workers use, on a device where models have no weights.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftConfig
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from cluster.preflight.hub import load_named
from configs.errors import UsageError
from configs.evaluation import ClassifierJudge
from configs.policy import PolicyConfig
from configs.rewards import LabelledModel
from configs.schema import Config
from learner.adapter import read_adapter
from learner.lora import check_fits, holds_base_weights, never_reached, unreached
from learner.model_limits import check_vocabulary, completion_positions, end_ids
from learner.policy import Policy
from learner.pretrained import META, one_line
from workers.reward.classifier import Classifier
from workers.reward.extra_rewards import make_extra

ADAPTER = "adapter_config.json", "adapter_model.safetensors|adapter_model.bin"
WEIGHTS = "model*.safetensors*|pytorch_model*.bin*"
TOKENIZER = "tokenizer.json|tokenizer_config.json|*.model|vocab.*"


def check_policy(config: Config) -> Policy:
    """The policy without its weights, made by the constructor that its workers use.

    Raises `UsageError` where the model is no encoder-decoder, or the adapter is not there or none of this model.
    """
    name, adapter = config.policy.model, config.policy.adapter
    shape = load_named("policy.model", name, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    if not shape.is_encoder_decoder:
        raise UsageError(f"policy.model: {name} ({shape.model_type}) is no encoder-decoder model")
    if getattr(shape, "decoder_start_token_id", None) is None:
        raise UsageError(f"policy.model: the config of {name} has no decoder_start_token_id; set it")
    if adapter:
        load_named("policy.adapter", adapter, PeftConfig.from_pretrained, *ADAPTER)
        check_format(config.policy)
        if holds_base_weights(found := read_adapter("policy.adapter", adapter)):  # all else the constructor sees
            check_fits(found, f"policy.adapter: {adapter}", config.policy)
    return _made("policy.model", Policy, config.policy, config.seed, META)


def _made(field: str, kind: Callable[..., Any], *arguments: Any) -> Any:
    """What a worker's constructor makes; whatever it raises is a problem of `field`."""
    try:
        return kind(*arguments)
    except UsageError:
        raise
    except Exception as error:  # a model that no code of ours was written for
        raise UsageError(f"{field}: cannot be used: {type(error).__name__}: {one_line(error)}") from error


def check_reach(config: Config, policy: Policy) -> None:
    """Raises `UsageError` where a layer that is to be adapted would never learn."""
    if idle := unreached(policy.peft):
        raise UsageError(never_reached(config.policy, idle))


def check_lengths(config: Config, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` where texts would not end, or be longer than the policy can read or write."""
    check_vocabulary("policy.model", policy.network, tokenizer)
    end_ids("policy.model", policy.network, tokenizer)
    _check_length("rollout.max_new_tokens", config.rollout.max_new_tokens, policy, config.policy.model)


def _check_length(field: str, tokens: int, policy: Policy, model: str) -> None:
    """Raises `UsageError` naming `field` where the policy has no positions for so many tokens of a completion."""
    limit = completion_positions(policy.network)
    if limit and tokens > limit:
        raise UsageError(f"{field}: {tokens}, but {model} has positions for {limit} tokens; lower it")


def check_targets(config: Config, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` where summaries cannot be put into batches, or are longer than the policy can write."""
    if tokenizer.pad_token_id is None:
        raise UsageError(
            f"policy.model: the tokenizer of {config.policy.model} has no pad token, so that summaries cannot be read "
            f"together; set pad_token in tokenizer_config.json"
        )
    _check_length("sft.max_target_tokens", config.sft.max_target_tokens, policy, config.policy.model)


def check_format(policy: PolicyConfig) -> None:
    """Warns of an adapter that exists as .bin only. Raises `UsageError` where that was not accepted."""
    folder = Path(policy.adapter or "")
    if not policy.adapter or not folder.is_dir() or (folder / "adapter_model.safetensors").is_file():
        return
    if not policy.adapter_bin:
        raise UsageError(
            f"policy.adapter: {folder} has an adapter_model.bin only, a format that could hold code; nothing but its "
            f"tensors would be read: accept that by --policy.adapter_bin true, or convert it to safetensors"
        )
    print(f"warning: policy.adapter: {folder}/adapter_model.bin is read as tensors only", file=sys.stderr)


def check_reward(config: Config) -> None:
    """Raises `UsageError` where the reward model cannot be the reward."""
    _check_classifier("reward", config.reward)


def check_judge(config: Config) -> None:
    """Raises `UsageError` where the second judge is a classifier that cannot judge."""
    if isinstance(judge := config.evaluation.second_judge, ClassifierJudge):
        _check_classifier("evaluation.second_judge", judge)


def _check_classifier(field: str, config: LabelledModel) -> None:
    """Raises `UsageError` where the model cannot be loaded, has no such label, or does not fit its tokenizer."""
    load_named(f"{field}.model", config.model, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    load_named(f"{field}.model", config.model, AutoTokenizer.from_pretrained, TOKENIZER)
    _made(f"{field}.model", Classifier, field, config, META)


def check_extras(config: Config) -> None:
    """Raises `UsageError` where a further reward cannot be made."""
    for extra in config.reward.extra:
        try:
            make_extra(extra)
        except ValueError as error:
            raise UsageError(f"reward.extra: {extra.name}: {error}") from error


def check_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """The policy's tokenizer. Raises `UsageError`."""
    return load_named("policy.model", config.policy.model, AutoTokenizer.from_pretrained, TOKENIZER)
