"""Prompts from a data set of dialogues and summaries.

Rows with the same prompt become one prompt with several references (DialogSum's test split has three each).
"""

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from configs.data import DataConfig
from configs.errors import UsageError
from configs.grouping import ByColumn, ByPromptLength, GroupBy

SPLIT_FORMATS = {".csv": "csv", ".jsonl": "json"}


@dataclass(frozen=True)
class Prompt:
    """One prompt with its references, group and topic."""

    text: str
    token_ids: tuple[int, ...]
    references: tuple[str, ...]
    group: str  # by the config's group_by; otherwise each prompt is a group of its own
    topic: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)  # all columns, as in `Row`


@dataclass(frozen=True)
class Row:
    """A text of the data with all its references, before it becomes a prompt."""

    text: str
    references: tuple[str, ...]
    cell: str  # value of the column that prompts are grouped by, if any
    topic: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)  # of the first row with this text, as plain values


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
    if isinstance(group_by, ByColumn):
        columns["algorithm.group_by.column"] = group_by.column
    for setting, column in columns.items():
        if column not in table.column_names:
            columns_found = ", ".join(table.column_names)
            raise UsageError(f"{setting}: {config.path!r} ({split}) has no column {column!r}; it has {columns_found}")
    return table


def read_rows(config: DataConfig, split: str, group_by: GroupBy | None = None) -> list[Row]:
    """The texts of a split whose length in characters is within bounds, in the data's order.

    Raises `UsageError` if the split or a column is missing or a file cannot be read.
    """
    table = read_table(config, split, group_by)
    cells = _column(table, group_by.column if isinstance(group_by, ByColumn) else None)
    topics = _column(table, config.topic_column)
    references: dict[str, list[str]] = {}
    known: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
    columns = table[config.prompt_column], table[config.reference_column], cells, topics, table
    for text, reference, cell, topic, row in zip(*columns, strict=True):
        if isinstance(text, str) and config.min_chars <= len(text) <= config.max_chars:
            references.setdefault(text, []).append(str(reference or ""))
            known.setdefault(text, (cell, topic, plain(row)))
    return [Row(text, tuple(refs), *known[text]) for text, refs in references.items()]


def _column(table: datasets.Dataset, name: str | None) -> list[str]:
    return [str(cell) for cell in table[name]] if name in table.column_names else [""] * len(table)


def plain(value: Any) -> Any:
    """The value as JSON has it: text, numbers, booleans, None, lists and dicts; NaN is None, other kinds their text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
    return str(value)


def make_prompts(
    rows: list[Row], config: DataConfig, tokenizer: PreTrainedTokenizerBase, group_by: GroupBy | None = None
) -> list[Prompt]:
    """The prompts of the rows, without those that have too many tokens."""
    prompts = [config.template.replace("{text}", row.text) for row in rows]
    # All in one call: fast tokenizers are fast only on batches.
    token_ids = tokenizer(prompts)["input_ids"] if prompts else []
    return [
        Prompt(prompt, tuple(ids), row.references, _group(group_by, number, len(ids), row.cell), row.topic, row.columns)
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
