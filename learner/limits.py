"""What a model can take: the tokens it knows, the positions it has, and the tokens that end a text."""

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from configs.errors import UsageError


def check_vocabulary(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` naming `field` where the tokenizer gives numbers that the model has no embedding for."""
    rows, largest = len(model.get_input_embeddings().weight), max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        raise UsageError(
            f"{field}: the tokenizer has token {largest}, the model embeddings for {rows} tokens only; "
            f"put beside the model the tokenizer that it was trained with"
        )


def end_ids(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a completion: the tokenizer's EOS; where it has none, what the model's configs name.

    Raises `UsageError` naming `field` where there is none: completions would all run to their limit.
    """
    for found in (tokenizer.eos_token_id, model.generation_config.eos_token_id, model.config.eos_token_id):
        if found is not None:
            return tuple(found) if isinstance(found, list) else (found,)
    raise UsageError(
        f"{field}: neither tokenizer nor model names an end-of-sequence token, so that no completion would end; set "
        f"eos_token_id in generation_config.json, or eos_token in tokenizer_config.json"
    )


def positions(stack: nn.Module, *settings: str) -> int | None:
    """Tokens that an encoder, a decoder or a classifier has positions for, by the first of its settings that says so.

    None where nothing bounds them, as with T5's relative positions.
    """
    config: PretrainedConfig = stack.config
    named = (getattr(config, setting, None) for setting in (*settings, "max_position_embeddings"))
    limit = next((n for n in named if isinstance(n, int) and n > 0), None)
    return limit and limit - _reserved(stack)


def _reserved(stack: nn.Module) -> int:
    """Positions that are never a token's: models such as RoBERTa count from behind that of the padding."""
    tables = (m for name, m in stack.named_modules() if name.endswith("position_embeddings"))
    return max((m.padding_idx + 1 for m in tables if getattr(m, "padding_idx", None) is not None), default=0)


def prompt_positions(model: PreTrainedModel) -> int | None:
    """Tokens that a prompt may have."""
    return positions(model.get_encoder(), "max_encoder_position_embeddings")


def completion_positions(model: PreTrainedModel) -> int | None:
    """Tokens that a completion may have; the decoder reads all but its last one, behind the start token."""
    return positions(model.get_decoder(), "max_decoder_position_embeddings")
