"""Pairs as a reward model reads them: the same texts, truncated in the same way, as when it scores a completion."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer

from learner.preferences.pairs import Preference
from learner.preferences.reward_body import load_body
from learner.preferences.trainings import EncodedPair
from learner.pretrained import META
from workers.reward.classifier import checked_limit, encode
from workers.reward.items import Item
from workers.reward.texts import texts_to_read

TIE = 0.5


class PairReader:
    """Turns pairs into the tokens of a model."""

    def __init__(self, field: str, model: str, text: str) -> None:
        """Raises `UsageError` naming `field` if the model cannot become a reward model."""
        device = META if Path(model).is_dir() else torch.device("cpu")
        self.text, self.body = text, load_body(field, model, device)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.limit = checked_limit(field, self.body.model, self.tokenizer)

    def read(self, pairs: Sequence[Preference]) -> list[EncodedPair]:
        """The pairs in tokens; texts that are too long are truncated."""
        chosen, rejected = self._sides(pairs, self.limit)
        return [
            EncodedPair(one, other, TIE if pair.tie else 1.0, pair.margin or 0.0)
            for pair, one, other in zip(pairs, chosen, rejected, strict=True)
        ]

    def truncated(self, pairs: Sequence[Preference]) -> int:
        """Number of pairs of which a text is too long."""
        if self.limit is None:
            return 0
        return sum(max(len(one), len(other)) > self.limit for one, other in zip(*self._sides(pairs, None), strict=True))

    def _sides(self, pairs: Sequence[Preference], limit: int | None) -> list[list[list[int]]]:
        """Tokens of the chosen completions, and of the rejected ones."""
        return [self._tokens(side, limit) for side in zip(*map(both_items, pairs), strict=True)]

    def _tokens(self, items: Sequence[Item], limit: int | None) -> list[list[int]]:
        texts, cut = texts_to_read(items, self.text)
        return encode(self.tokenizer, texts, limit, cut)["input_ids"]


def both_items(pair: Preference) -> tuple[Item, Item]:
    """The chosen and the rejected completion, each with its prompt."""
    return Item(pair.chosen, pair.prompt), Item(pair.rejected, pair.prompt)
