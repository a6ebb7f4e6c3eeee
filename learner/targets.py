"""Target texts of supervised fine-tuning: what the decoder reads, and what it should write."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.family import encoder_options

IGNORED = -100
"""Label of a token without a loss, as in all of transformers' models."""


def tokens_of(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = False) -> list[int]:
    """Token ids of a text that the decoder reads or writes, without special tokens unless asked for."""
    if hasattr(tokenizer, "tgt_lang") and tokenizer.tgt_lang is None:
        tokenizer.tgt_lang = tokenizer.src_lang  # M2M100's fails without one; its token is context here, not text
    return tokenizer(text_target=text, add_special_tokens=special)["input_ids"]


def target_ids(tokenizer: PreTrainedTokenizerBase, text: str, prefix: Sequence[int]) -> list[int]:
    """Token ids of a target text up to its end, without what the decoder's prefix has said already.

    What a tokenizer puts before a text belongs to the target (BART's <s>), unless it is the start token (T5Gemma's,
    BERT's) or forced (BART's again, or a language). What it puts after a text is left to `with_end`.
    """
    plain, whole = tokens_of(tokenizer, text), tokens_of(tokenizer, text, special=True)
    starts = range(len(whole) - len(plain) + 1)
    first = next((i for i in starts if whole[i : i + len(plain)] == plain), 0) if plain else 0
    return [*(token for token in whole[:first] if token not in prefix), *plain]


def with_end(target: Sequence[int], ends: Sequence[int], most: int) -> list[int]:
    """The target ending in the model's EOS, with at most `most` tokens: without it no model learns to stop."""
    return [*target[: most - 1], ends[0]]


def as_example(prompt: Sequence[int], prefix: Sequence[int], target: Sequence[int]) -> dict[str, list[int]]:
    """One example: the decoder reads prefix and target, shifted right by one; forced tokens have no loss."""
    forced = len(prefix) - 1
    return {
        "input_ids": list(prompt),
        "decoder_input_ids": [*prefix, *target[:-1]],
        "labels": [IGNORED] * forced + list(target),
    }


class Collator:
    """Batches of examples, padded on the right whatever the tokenizer's padding side: positions count from the left."""

    def __init__(self, model: PreTrainedModel, pad: int) -> None:
        self.model, self.padding = model, {"input_ids": pad, "decoder_input_ids": pad, "labels": IGNORED}

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Examples -> tensors [B, S] and [B, T], with the mask of the prompts [B, S]."""
        batch = {
            name: pad_sequence([torch.tensor(example[name]) for example in examples], True, padding)
            for name, padding in self.padding.items()
        }
        lengths = torch.tensor([[len(example["input_ids"])] for example in examples])
        mask = (torch.arange(batch["input_ids"].shape[1]) < lengths).long()
        return {**batch, "attention_mask": mask, **encoder_options(self.model, mask)}


def prefix_length(labels: Tensor) -> int:
    """Tokens that the decoder reads before the first label [B, T] counts, the start token included."""
    return int((labels[0] != IGNORED).int().argmax()) + 1
