"""What each row of a data set says: its text, its references, and all its columns as plain values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.data import DataConfig
from configs.errors import UsageError
from configs.grouping import ByColumn, GroupBy
from workers.data.languages import Languages
from workers.data.reading import read_table
from workers.data.table import Table

SPEAKERS = ("speaker", "role", "from", "name")
SAYINGS = ("text", "content", "value", "utterance", "message")
"""Keys of a turn of a dialogue, the first that it has counts."""


@dataclass(frozen=True)
class Example:
    """One row of the data."""

    place: str  # for messages, such as `train.csv line 3`
    text: str  # empty if there is none
    references: tuple[str, ...]  # without empty ones
    cell: str  # value of the column that prompts are grouped by, if any
    topic: str
    languages: Languages
    columns: Mapping[str, Any]  # all columns, as plain values


def read_examples(config: DataConfig, split: str, group_by: GroupBy | None = None) -> Iterator[Example]:
    """Each row of a split, or of a part of one, before any filter.

    Raises `UsageError` if the split or a column is missing, a file cannot be read, or a cell is not a text.
    """
    table, group = read_table(config, split), group_by.column if isinstance(group_by, ByColumn) else None
    _check_columns(table, config, split, group)
    topic = config.topic_column if config.topic_column in table.columns else None
    for place, row in table:
        cells = [value(row, column) for column in config.reference_columns]
        yield Example(
            place=place,
            text=_dialogue(
                value(row, config.prompt_column), f"data.prompt_column: {config.prompt_column!r} of {place}"
            ),
            references=tuple(
                reference
                for column, cell in zip(config.reference_columns, cells, strict=True)
                for reference in _references(cell, f"data.reference_column: {column!r} of {place}")
            ),
            cell=_label(row, group),
            topic=_label(row, topic),
            languages=Languages(*(_language(row, name, config, place) for name in ("src_lang", "tgt_lang"))),
            columns=plain(row),
        )


def _language(row: Mapping[str, Any], setting: str, config: DataConfig, place: str) -> str | None:
    column, default = getattr(config, f"{setting}_column"), getattr(config, setting)
    named = _label(row, column) or default
    if column and named is None:
        where = f"data.{setting}_column: {column!r} of {place}"
        raise UsageError(f"{where} is empty; name a language there, or set data.{setting} for such rows")
    return named


def value(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column or, if no column has that name, at a dotted path; of a list, those of its entries.

    None where there is nothing.
    """
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    return _within(row.get(head), rest) if rest else None


def _within(cell: Any, path: str) -> Any:
    if isinstance(cell, Mapping):
        return value(cell, path)
    return [_within(entry, path) for entry in cell] if isinstance(cell, list) else None


def plain(cell: Any) -> Any:
    """The value as JSON has it: text, numbers, booleans, None, lists and dicts; NaN is None, other kinds their text."""
    match cell:
        case None | bool() | int() | str():
            return cell
        case float():
            return cell if math.isfinite(cell) else None
        case Mapping():
            return {str(key): plain(part) for key, part in cell.items()}
        case list() | tuple():
            return [plain(part) for part in cell]
    return str(cell)


def _check_columns(table: Table, config: DataConfig, split: str, group: str | None) -> None:
    wanted = [("data.prompt_column", config.prompt_column)]
    wanted += [("data.reference_column", column) for column in config.reference_columns]
    named = [("data.src_lang_column", config.src_lang_column), ("data.tgt_lang_column", config.tgt_lang_column)]
    wanted += [(setting, column) for setting, column in named if column]
    wanted += [("algorithm.group_by.column", group)] if group else []
    problems = [
        f"{setting}: {config.path!r} ({split}) has no column {path!r}; it has {', '.join(_paths(table))}"
        + ("; null, if there are no references" if setting == "data.reference_column" else "")
        for setting, path in wanted
        if path not in table.columns and not ("." in path and any(_has(value(row, path)) for _, row in table))
    ]
    if problems:
        raise UsageError(*problems)


def _has(cell: Any) -> bool:
    return any(map(_has, cell)) if isinstance(cell, list) else cell is not None


def _paths(table: Table) -> Iterator[str]:
    """The columns, and the keys of nested ones as far as the first row has them."""
    _, first = next(iter(table))
    for column in table.columns:
        cell = first.get(column)
        entry = cell[0] if isinstance(cell, list) and cell else cell
        yield from (f"{column}.{key}" for key in entry) if isinstance(entry, Mapping) else (column,)


def _label(row: Mapping[str, Any], column: str | None) -> str:
    cell = value(row, column) if column else None
    return "" if cell is None else str(cell)


def _dialogue(cell: Any, where: str) -> str:
    """A text, or the turns of a dialogue, one per line."""
    lengths = (
        {len(part) if isinstance(part, list) else None for part in cell.values()} if isinstance(cell, dict) else {}
    )
    if len(lengths) == 1 and None not in lengths:
        cell = [dict(zip(cell, turn, strict=True)) for turn in zip(*cell.values(), strict=True)]  # a list by key
    turns = [_turn(turn, where) for turn in cell] if isinstance(cell, list) else [_text(cell, where)]
    return "\n".join(turn for turn in turns if turn)


def _turn(turn: Any, where: str) -> str:
    if not isinstance(turn, Mapping):
        return " ".join(_text(turn, where).splitlines())
    said = next((turn[key] for key in SAYINGS if key in turn), None)
    if not any(key in turn for key in SAYINGS):
        raise UsageError(f"{where} has a turn without any of the keys {', '.join(SAYINGS)}; it has {', '.join(turn)}")
    speaker = _text(next((turn[key] for key in SPEAKERS if key in turn), None), where)
    text = " ".join(_text(said, where).splitlines())
    return f"{speaker}: {text}" if speaker and text else text


def _references(cell: Any, where: str) -> Sequence[str]:
    """The texts of a cell with one reference or a list of them, without empty ones."""
    texts = [_text(entry, where) for entry in (cell if isinstance(cell, list) else [cell])]
    return [text for text in texts if text.strip()]


def _text(cell: Any, where: str) -> str:
    """A text or a number as text; nothing (null, NaN) is empty."""
    cell = plain(cell)
    if isinstance(cell, bool | list | dict):
        keys = f" with the keys {', '.join(cell)}; name one, after a dot" if isinstance(cell, dict) else ""
        keys = f" with the keys {', '.join(cell)}; name one, after a dot" if isinstance(cell, dict) else ""
        kind = {bool: "true or false", list: "a list in a list", dict: "an object"}[type(cell)]
        raise UsageError(f"{where} is not a text but {kind}{keys}")
    return "" if cell is None else str(cell)
