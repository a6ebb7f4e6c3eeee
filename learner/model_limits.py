"""What a model can take: the tokens it knows, the positions it has, and the tokens that end a text."""

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from configs.errors import UsageError

TABLES = ("position_embeddings", "embed_positions", "wpe")
"""Names by which transformers' models have learned or fixed tables of positions."""


def check_vocabulary(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` naming `field` where the tokenizer gives numbers that the model has no embedding for.

    Its mask is left out, which no text holds: some of BART's models have no embedding for it.
    """
    rows = len(model.get_input_embeddings().weight)
    largest = max((token for text, token in tokenizer.get_vocab().items() if text != tokenizer.mask_token), default=-1)
    if largest >= rows:
        raise UsageError(
            f"{field}: the tokenizer has token {largest}, the model embeddings for {rows} tokens only; "
            f"put beside the model the tokenizer that it was trained with"
        )


def end_ids(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a completion: the tokenizer's EOS first, then what the model's configs name.

    Raises `UsageError` naming `field` where there is none that the model can give: all would run to their limit.
    """
    named: list[int] = []
    for found in (tokenizer.eos_token_id, model.generation_config.eos_token_id, model.config.eos_token_id):
        named += found if isinstance(found, list) else [] if found is None else [found]
    rows = len(model.get_output_embeddings().weight)
    if ends := tuple(dict.fromkeys(token for token in named if 0 <= token < rows)):
        return ends
    raise UsageError(
        f"{field}: neither tokenizer nor model names an end-of-sequence token, so that no completion would end; set "
        f"eos_token_id in generation_config.json, or eos_token in tokenizer_config.json"
    )


def positions(stack: nn.Module) -> int | None:
    """Tokens that an encoder, a decoder or a classifier has positions for.

    None where nothing bounds them: relative and rotary positions, and sinusoids that are computed as they are needed.
    """
    tables = [m for name, m in stack.named_modules() if isinstance(m, nn.Embedding) and name.endswith(TABLES)]
    return min((table.num_embeddings - _reserved(table) for table in tables), default=None)


def _reserved(table: nn.Embedding) -> int:
    """Rows that are never a token's: BART begins at an offset, RoBERTa behind the row of the padding."""
    behind_padding = 0 if table.padding_idx is None else table.padding_idx + 1
    return getattr(table, "offset", 0) + behind_padding


def prompt_positions(model: PreTrainedModel) -> int | None:
    """Tokens that a prompt may have."""
    return positions(model.get_encoder())


def completion_positions(model: PreTrainedModel) -> int | None:
    """Tokens that a completion may have; the decoder reads all but its last one, behind the start token."""
    return positions(model.get_decoder())
