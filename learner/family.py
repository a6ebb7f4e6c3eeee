"""What differs between families of encoder-decoders: the tokens around a completion, and the adapted layers."""

from typing import Any

import torch
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from configs.errors import UsageError

LORA_TARGETS = {
    **dict.fromkeys(("umt5", "longt5", "switch_transformers"), ("q", "v")),
}
"""Query and value projections where peft does not know the family."""
BART_LIKE = ("q_proj", "v_proj")
REFUSED = {
    "fsmt": "its tokenizers have no way to encode a target text, and need a package that is not maintained; "
    "use a Marian or NLLB model",
    "prophetnet": "transformers mixes up positions and heads of a text that its decoder reads in one pass, so that a "
    "token's probability depends on how many follow; use a BART or Pegasus model",
    "bigbird_pegasus": "it changes its kind of attention for good after the first short batch, so that a text's "
    "probability depends on the texts before it; use a LongT5, LED or Pegasus-X model",
}
"""Families for which a log-probability is no function of prompt and completion, or that lack something else."""


def check_family(field: str, name: str, config: PreTrainedConfig) -> None:
    """Raise `UsageError` naming `field` if the model `name` belongs to a family that cannot be trained."""
    reason = REFUSED.get(config.model_type)
    if config.model_type == "nllb-moe" and config.moe_eval_capacity_token_fraction < 1:
        reason = (
            "experts leave out tokens depending on the texts beside them; set moe_eval_capacity_token_fraction to 1"
        )
    if reason:
        raise UsageError(f"{field}: {name} is a {config.model_type} model, which cannot be used: {reason}")


def lora_targets(config: PreTrainedConfig) -> tuple[str, ...]:
    """Names of the query and value projections, for `policy.lora.target_modules: auto`."""
    if config.model_type == "encoder-decoder":  # made of any encoder and any decoder
        return tuple(dict.fromkeys([*lora_targets(config.encoder), *lora_targets(config.decoder)]))
    if config.model_type == "t5gemma2":  # not those of its encoder of images
        stacks = ("text_model", config.encoder.text_config), ("decoder", config.decoder)
        layers = [f"{stack}.layers.{i}" for stack, part in stacks for i in range(part.num_hidden_layers)]
        return tuple(f"{layer}.self_attn.{name}" for layer in layers for name in BART_LIKE)
    return tuple(LORA_TARGETS.get(config.model_type) or PEFT_TARGETS.get(config.model_type, BART_LIKE))


def start_token(field: str, config: PreTrainedConfig, generation: GenerationConfig) -> int:
    """The token that the decoder reads first, as transformers' `generate` chooses it.

    Raises `UsageError` naming `field` if the model names none.
    """
    configs = generation, config, getattr(config, "decoder", None)
    for key in ("decoder_start_token_id", "bos_token_id"):  # T5Gemma's decoder starts with BOS
        for token in (getattr(named, key, None) for named in configs):
            if isinstance(token, int):
                return token
    raise UsageError(
        f"{field}: the model names no token that its decoder starts with; set decoder_start_token_id in "
        f"generation_config.json"
    )


def decoder_prefix(field: str, config: PreTrainedConfig, generation: GenerationConfig) -> tuple[int, ...]:
    """What the decoder reads before each completion: the start token, and a token that the model forces to be next.

    Forced tokens are context: they have no log-probability and belong to no completion.
    Raises `UsageError` naming `field` if the model names no start token.
    """
    forced = generation.forced_bos_token_id
    return (start_token(field, config, generation), *([] if forced is None else [forced]))


def read_prefix(field: str, name: str) -> tuple[int, ...]:
    """The `decoder_prefix` of a local directory or hub name, from its files alone."""
    config = AutoConfig.from_pretrained(name)
    try:
        generation = GenerationConfig.from_pretrained(name)
    except OSError:  # no such file
        generation = GenerationConfig.from_model_config(config)
    return decoder_prefix(field, config, generation)


def encoder_options(model: PreTrainedModel, mask: Tensor) -> dict[str, Tensor]:
    """What an encoder reads besides token ids and their mask [B, S].

    LED: global attention on the first token (Beltagy et al. 2020, section 5), without which distant tokens never meet.
    """
    if model.config.model_type != "led":
        return {}
    first = torch.zeros_like(mask).scatter(1, mask.argmax(dim=1, keepdim=True), 1)
    return {"global_attention_mask": first}


def decoder_inputs(model: PreTrainedModel, ids: Tensor, cached: bool = False) -> dict[str, Tensor]:
    """What a decoder reads for the tokens `ids` [B, T], in one pass or `cached`, token by token.

    A pad token inside a completion is a token like any other, as it is while decoding with a cache; in one pass T5Gemma
    would mask it, and M2M100 and NLLB-MoE would not count it in the positions of later tokens.
    """
    kind = model.config.model_type
    if kind in ("m2m_100", "nllb-moe"):
        return {"decoder_inputs_embeds": model.get_decoder().embed_tokens(ids)}
    whole = kind in ("t5gemma", "t5gemma2") and not cached
    return {"decoder_input_ids": ids, **({"decoder_attention_mask": torch.ones_like(ids)} if whole else {})}


def end_ids(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids of the tokens that end a completion: the model's, or the tokenizer's if the model names none.

    Raises `UsageError` naming `field` if the model can generate none of them: no completion would end.
    """
    rows = len(model.get_output_embeddings().weight)
    for named in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        if ends := tuple(dict.fromkeys(token for token in _listed(named) if 0 <= token < rows)):
            return ends
    raise UsageError(
        f"{field}: neither the tokenizer nor the model defines an end-of-sequence token, so no completion would end; "
        f"set eos_token_id in generation_config.json, or eos_token in tokenizer_config.json"
    )


def _listed(ids: Any) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]
