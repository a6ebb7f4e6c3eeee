"""A model's limits: its vocabulary and its positions."""

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from configs.errors import UsageError

TABLES = ("position_embeddings", "embed_positions", "wpe")
"""Names of position tables, learned or fixed, in transformers' models."""


def check_vocabulary(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `UsageError` naming `field` if the tokenizer has ids that the model has no embedding for.

    The mask token is ignored: no text contains it, and some BART models have no embedding for it.
    """
    rows = len(model.get_input_embeddings().weight)
    largest = max((token for text, token in tokenizer.get_vocab().items() if text != tokenizer.mask_token), default=-1)
    if largest >= rows:
        raise UsageError(
            f"{field}: the tokenizer has token id {largest}, but the model has embeddings for {rows} tokens only; "
            f"replace the tokenizer by the one that the model was trained with"
        )


def positions(stack: nn.Module) -> int | None:
    """Number of tokens that an encoder, a decoder or a classifier has positions for.

    None if unlimited: relative and rotary positions, and sinusoids computed on demand.
    """
    tables = [m for name, m in stack.named_modules() if isinstance(m, nn.Embedding) and name.endswith(TABLES)]
    return min((table.num_embeddings - _reserved(table) for table in tables), default=None)


def _reserved(table: nn.Embedding) -> int:
    """Rows that no token uses: BART starts at an offset, RoBERTa after the padding row."""
    after_padding = 0 if table.padding_idx is None else table.padding_idx + 1
    return getattr(table, "offset", 0) + after_padding


def prompt_positions(model: PreTrainedModel) -> int | None:
    """Maximum tokens of a prompt; None if unlimited."""
    return positions(model.get_encoder())


def completion_positions(model: PreTrainedModel, prefix: int = 1) -> int | None:
    """Maximum tokens of a completion; the decoder reads a prefix of so many tokens and all but the last one.

    A Switch model's experts leave out further tokens of a text that the decoder reads in one pass, but not while it
    decodes with a cache (Fedus et al. 2022, section 2.2): within the capacity both are the same.
    """
    capacity = model.config.expert_capacity if model.config.model_type == "switch_transformers" else None
    limits = positions(model.get_decoder()), capacity
    return min((limit - prefix + 1 for limit in limits if limit is not None), default=None)
