"""Checks of policy, adapter and tokenizer before anything starts.

They call the constructors that workers use, on the meta device, where models have no weights.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftConfig
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from cluster.preflight.hub import load_named
from configs.errors import UsageError
from configs.policy import PolicyConfig
from configs.schema import Config
from learner.adapter import read_adapter
from learner.family import check_family, end_ids
from learner.lora import check_fits, holds_base_weights, never_reached, unreached
from learner.model_limits import check_vocabulary, completion_positions
from learner.policy import Policy
from learner.pretrained import META, one_line

ADAPTER = "adapter_config.json", "adapter_model.safetensors|adapter_model.bin"
WEIGHTS = "model*.safetensors*|pytorch_model*.bin*"
TOKENIZER = "tokenizer.json|tokenizer_config.json|*.model|*.spm|vocab.*"


def check_policy(config: Config) -> Policy:
    """The policy without its weights, made by the constructor that workers use.

    Raises `UsageError` if the model is not an encoder-decoder, or the adapter is missing or of another model.
    """
    name, adapter = config.policy.model, config.policy.adapter
    shape = load_named("policy.model", name, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    if not shape.is_encoder_decoder:
        raise UsageError(f"policy.model: {name} ({shape.model_type}) is not an encoder-decoder model")
    check_family("policy.model", name, shape)
    if adapter:
        load_named("policy.adapter", adapter, PeftConfig.from_pretrained, *ADAPTER)
        check_format(config.policy)
        # The constructor checks everything else.
        if holds_base_weights(found := read_adapter("policy.adapter", adapter)):
            check_fits(found, f"policy.adapter: {adapter}", config.policy)
    return construct("policy.model", Policy, config.policy, config.seed, META)


def construct(field: str, kind: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a worker's constructor. Raises `UsageError` naming `field` for whatever the constructor raises."""
    try:
        return kind(*arguments)
    except UsageError:
        raise
    except Exception as error:  # an unknown kind of model may fail in any way
        raise UsageError(f"{field}: cannot be used: {type(error).__name__}: {one_line(error)}") from error


def check_reach(config: Config, policy: Policy) -> None:
    """Raises `UsageError` if an adapted layer would never receive a gradient."""
    if idle := unreached(policy.peft):
        raise UsageError(never_reached(config.policy, idle))


def check_lengths(config: Config, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` if the tokenizer does not fit, no token ends a completion, or completions are too long."""
    check_vocabulary("policy.model", policy.network, tokenizer)
    end_ids("policy.model", policy.network, tokenizer)
    _check_length("rollout.max_new_tokens", config.rollout.max_new_tokens, policy, config.policy.model)


def _check_length(field: str, tokens: int, policy: Policy, model: str) -> None:
    """Raises `UsageError` naming `field` if completions have more tokens than the policy has positions."""
    limit = completion_positions(policy.network, len(policy.decoder_prefix))
    if limit and tokens > limit:
        raise UsageError(f"{field}: {tokens}, but {model} has positions for {limit} tokens; lower it")


def check_targets(config: Config, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` if target summaries cannot be padded, or are longer than the policy can write."""
    if tokenizer.pad_token_id is None:
        raise UsageError(
            f"policy.model: the tokenizer of {config.policy.model} has no pad token, which batches of summaries need; "
            f"set pad_token in tokenizer_config.json"
        )
    _check_length("sft.max_target_tokens", config.sft.max_target_tokens, policy, config.policy.model)


def check_format(policy: PolicyConfig) -> None:
    """Warn of an adapter that exists only as .bin. Raises `UsageError` unless `policy.adapter_bin` accepts it."""
    folder = Path(policy.adapter or "")
    if not policy.adapter or not folder.is_dir() or (folder / "adapter_model.safetensors").is_file():
        return
    if not policy.adapter_bin:
        raise UsageError(
            f"policy.adapter: {folder} has only an adapter_model.bin, a format that can contain code, of which only "
            f"tensors would be read: accept this with --policy.adapter_bin true, or convert it to safetensors"
        )
    print(f"warning: policy.adapter: only tensors are read from {folder}/adapter_model.bin", file=sys.stderr)


def check_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """The policy's tokenizer. Raises `UsageError` if it cannot be loaded."""
    return load_named("policy.model", config.policy.model, AutoTokenizer.from_pretrained, TOKENIZER)
