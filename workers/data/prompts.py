"""Prompts from a data set of texts and references: what is kept of its rows, and why the others are left out.

Rows with the same text become one prompt with several references (DialogSum's test split has three each).
"""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from configs.data import DataConfig
from configs.grouping import ByColumn, ByPromptLength, GroupBy
from workers.data.examples import Example, read_examples
from workers.data.languages import Languages, decoder_prefix, encode

T = TypeVar("T")
LEFT_OUT = {
    "empty": "without a text",
    "too_short": "shorter than data.min_chars",
    "too_long": "longer than data.max_chars",
    "no_reference": "without a reference",
    "repeated": "repeating a text and its references",
    "too_many_tokens": "over data.max_prompt_tokens",
}
"""Reasons to leave out a row, and each in words; the first that applies counts."""


@dataclass(frozen=True)
class Kept(Sequence[T]):
    """What is kept of a split, in the data's order, with the number of rows left out for each reason."""

    items: tuple[T, ...]
    rows: int  # of the split
    left_out: Mapping[str, int]

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __str__(self) -> str:
        return in_words(self.counts())

    def counts(self) -> dict[str, Any]:
        """Its numbers, ready for JSON."""
        return {"rows": self.rows, "prompts": len(self), "left_out": dict(self.left_out)}


def in_words(counts: Mapping[str, Any]) -> str:
    """The numbers of `Kept.counts` as a phrase."""
    left_out = counts["left_out"]
    reasons = ", ".join(f"{left_out[key]:,} {why}" for key, why in LEFT_OUT.items() if left_out.get(key))
    return f"{counts['prompts']:,} prompts from {counts['rows']:,} rows; left out: {reasons or 'none'}"


@dataclass(frozen=True)
class Prompt:
    """One prompt with its references, group and topic."""

    text: str
    token_ids: tuple[int, ...]
    references: tuple[str, ...]
    group: str  # by the config's group_by; otherwise each prompt is a group of its own
    topic: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)  # all columns of the first row with this text, plain values
    decoder_prefix: tuple[int, ...] = ()  # what the decoder reads before the completion; (): as the model's config says


@dataclass(frozen=True)
class Row:
    """A text of the data with all its references, before it becomes a prompt."""

    text: str
    references: tuple[str, ...]
    first: Example  # the first row with this text
    rows: int  # of the data that are kept


def read_rows(config: DataConfig, split: str, group_by: GroupBy | None = None) -> Kept[Row]:
    """The texts of a split or of a part of one that pass all filters but that of tokens, in the data's order.

    Raises `UsageError` if the split or a column is missing, a file cannot be read, or a cell is not a text.
    """
    kept: dict[tuple[str, Languages], list[Example]] = {}  # the same text is another prompt in another language
    references: dict[tuple[str, Languages], list[str]] = {}
    left_out: Counter[str] = Counter()
    for example in read_examples(config, split, group_by):
        key = example.text, example.languages
        known = references.get(key)
        if why := reason(example, config, known):
            left_out[why] += 1
            continue
        kept.setdefault(key, []).append(example)
        references[key] = list(dict.fromkeys([*(known or ()), *example.references]))
    rows = [Row(key[0], tuple(references[key]), examples[0], len(examples)) for key, examples in kept.items()]
    return Kept(tuple(rows), sum(row.rows for row in rows) + left_out.total(), left_out)


def reason(example: Example, config: DataConfig, known: Sequence[str] | None) -> str | None:
    """Why a row is left out, or None; `known` are the references of earlier rows with its text, if there are such rows.

    Characters are those of the text without the template, and bounds are inclusive.
    """
    if not example.text.strip():
        return "empty"
    if len(example.text) < config.min_chars:
        return "too_short"
    if len(example.text) > config.max_chars:
        return "too_long"
    if config.reference_column is not None and not example.references:
        return "no_reference"
    return "repeated" if known is not None and set(example.references) <= set(known) else None


def make_prompts(
    rows: Kept[Row],
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    group_by: GroupBy | None = None,
    own_prefix: Sequence[int] = (),
) -> Kept[Prompt]:
    """The prompts of the rows, without those that have too many tokens.

    `own_prefix`: what the model's decoder reads before a completion, needed if the data say more about that.
    Raises `UsageError` if the tokenizer lacks a language.
    """
    texts = [config.template.replace("{text}", row.text) for row in rows]
    token_ids = encode(tokenizer, texts, [row.first.languages.source for row in rows])
    targets = dict.fromkeys(row.first.languages.target for row in rows)
    prefix = {target: decoder_prefix(own_prefix, tokenizer, target, config.target_prefix) for target in targets}
    prompts = [
        Prompt(
            text,
            tuple(ids),
            row.references,
            _group(group_by, number, len(ids), row.first.cell),
            row.first.topic,
            row.first.columns,
            prefix[row.first.languages.target],
        )
        for number, (text, ids, row) in enumerate(zip(texts, token_ids, rows, strict=True))
        if len(ids) <= config.max_prompt_tokens
    ]
    long = sum(row.rows for row, ids in zip(rows, token_ids, strict=True) if len(ids) > config.max_prompt_tokens)
    return Kept(tuple(prompts), rows.rows, {**rows.left_out, **({"too_many_tokens": long} if long else {})})


def _group(group_by: GroupBy | None, number: int, tokens: int, cell: str) -> str:
    match group_by:
        case ByColumn():
            return cell
        case ByPromptLength(bounds=bounds):
            edges = [0, *bounds]
            index = bisect.bisect_right(bounds, tokens)
            return f"{edges[index]}-{bounds[index] - 1} tokens" if index < len(bounds) else f"{edges[index]}+ tokens"
    return str(number)
