"""Prompts from a data set of dialogues and summaries.

Rows with the same prompt become one prompt with several references (DialogSum's test split has three each).
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
from transformers import PreTrainedTokenizerBase

from configs.data import DataConfig
from configs.errors import UsageError
from configs.grouping import ByColumn, ByPromptLength, GroupBy
from workers.data.languages import UNSAID, Languages, decoder_prefix, encode

LANGUAGE_COLUMNS = ("src_lang_column", "tgt_lang_column")
SPLIT_FORMATS = {".csv": "csv", ".jsonl": "json"}


@dataclass(frozen=True)
class Prompt:
    """One prompt with its references, group and topic."""

    text: str
    token_ids: tuple[int, ...]
    references: tuple[str, ...]
    group: str  # by the config's group_by; otherwise each prompt is a group of its own
    topic: str = ""
    decoder_prefix: tuple[int, ...] = ()  # what the decoder reads before the completion; (): as the model's config says


@dataclass(frozen=True)
class Row:
    """A text of the data with all its references, before it becomes a prompt."""

    text: str
    references: tuple[str, ...]
    cell: str  # value of the column that prompts are grouped by, if any
    topic: str = ""
    languages: Languages = UNSAID


def split_names(config: DataConfig) -> list[str]:
    """The available splits: one per file of a local directory, or as listed by the hub. Raises `UsageError`."""
    if Path(config.path).is_dir():
        return list(_files(config.path))
    try:
        return datasets.get_dataset_split_names(config.path)
    except Exception as error:  # the hub's client raises many kinds
        raise UsageError(
            f"data.path: {config.path!r} is not a local directory, and its splits cannot be listed on the hub: {error}"
        ) from error


def read_table(config: DataConfig, split: str, group_by: GroupBy | None = None) -> datasets.Dataset:
    """A whole split, unfiltered.

    Raises `UsageError` if the split or a column is missing or a file cannot be read.
    """
    table = _read(config, split)
    columns = {"data.prompt_column": config.prompt_column, "data.reference_column": config.reference_column}
    columns |= {f"data.{name}": column for name in LANGUAGE_COLUMNS if (column := getattr(config, name))}
    if isinstance(group_by, ByColumn):
        columns["algorithm.group_by.column"] = group_by.column
    for field, column in columns.items():
        if column not in table.column_names:
            columns_found = ", ".join(table.column_names)
            raise UsageError(f"{field}: {config.path!r} ({split}) has no column {column!r}; it has {columns_found}")
    return table


def read_rows(config: DataConfig, split: str, group_by: GroupBy | None = None) -> list[Row]:
    """The texts of a split whose length in characters is within bounds, in the data's order.

    Raises `UsageError` if the split or a column is missing or a file cannot be read.
    """
    table = read_table(config, split, group_by)
    cells = _column(table, group_by.column if isinstance(group_by, ByColumn) else None)
    topics = _column(table, config.topic_column)
    # The same text is another prompt in another language.
    references: dict[tuple[str, Languages], list[str]] = {}
    known: dict[tuple[str, Languages], tuple[str, str]] = {}
    columns = table[config.prompt_column], table[config.reference_column], cells, topics, _languages(table, config)
    for text, reference, cell, topic, languages in zip(*columns, strict=True):
        if isinstance(text, str) and config.min_chars <= len(text) <= config.max_chars:
            references.setdefault((text, languages), []).append(str(reference or ""))
            known.setdefault((text, languages), (cell, topic))
    return [Row(key[0], tuple(refs), *known[key], key[1]) for key, refs in references.items()]


def _languages(table: datasets.Dataset, config: DataConfig) -> list[Languages]:
    """Source and target language of each row."""
    both = (config.src_lang_column, config.src_lang), (config.tgt_lang_column, config.tgt_lang)
    columns = [table[column] if column else [default] * len(table) for column, default in both]
    return [Languages(*pair) for pair in zip(*columns, strict=True)]


def _column(table: datasets.Dataset, name: str | None) -> list[str]:
    return [str(cell) for cell in table[name]] if name in table.column_names else [""] * len(table)


def make_prompts(
    rows: list[Row],
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    group_by: GroupBy | None = None,
    own_prefix: Sequence[int] = (),
) -> list[Prompt]:
    """The prompts of the rows, without those that have too many tokens.

    `own_prefix`: what the model's decoder reads before a completion, needed if the data say more about that.
    Raises `UsageError` if the tokenizer lacks a language.
    """
    prompts = [config.template.replace("{text}", row.text) for row in rows]
    token_ids = encode(tokenizer, prompts, [row.languages.source for row in rows])
    targets = dict.fromkeys(row.languages.target for row in rows)
    prefix = {target: decoder_prefix(own_prefix, tokenizer, target, config.target_prefix) for target in targets}
    return [
        Prompt(
            prompt,
            tuple(ids),
            row.references,
            _group(group_by, number, len(ids), row.cell),
            row.topic,
            prefix[row.languages.target],
        )
        for number, (prompt, ids, row) in enumerate(zip(prompts, token_ids, rows, strict=True))
        if len(ids) <= config.max_prompt_tokens
    ]


def _group(group_by: GroupBy | None, number: int, tokens: int, cell: str) -> str:
    match group_by:
        case ByColumn():
            return cell
        case ByPromptLength(bounds=bounds):
            edges = [0, *bounds]
            index = bisect.bisect_right(bounds, tokens)
            return f"{edges[index]}-{bounds[index] - 1} tokens" if index < len(bounds) else f"{edges[index]}+ tokens"
    return str(number)


def _read(config: DataConfig, split: str) -> datasets.Dataset:
    if not Path(config.path).is_dir():
        return _read_hub(config.path, split)
    files = _files(config.path)
    if split not in files:
        available = ", ".join(files) or "none"
        raise UsageError(f"data.path: {config.path} has no {split}.csv or {split}.jsonl; splits found: {available}")
    path = files[split]
    try:
        return datasets.load_dataset(SPLIT_FORMATS[path.suffix], data_files=str(path), split="train")
    except Exception as error:  # an empty file, a header alone and broken JSON each raise another kind
        raise UsageError(f"data.path: {path} cannot be read: {error.__cause__ or error}") from error


def _files(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(Path(folder).iterdir()) if path.suffix in SPLIT_FORMATS}


def _read_hub(name: str, split: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(name, split=split)
    except Exception as error:
        raise UsageError(
            f"data.path: {name!r} is not a local directory, and split {split!r} cannot be loaded from the hub: {error}"
        ) from error
