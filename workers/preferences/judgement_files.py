"""Judgements as jsonl: an object on each line, with exactly the fields of `Judgement`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from configs.errors import UsageError
from learner.atomic_files import replace_file
from workers.data.table import Table
from workers.preferences.files import each_row
from workers.preferences.judgements import Judgement
from workers.preferences.rows import read_rows

FIELDS = tuple(field.name for field in fields(Judgement))
NEEDED = ("pair", "prompt", "first", "second", "first_policy", "second_policy", "annotator", "outcome")
ROW = create_model(
    "Judgement",
    __config__=ConfigDict(strict=True),
    **{field.name: (field.type, ... if field.name in NEEDED else field.default) for field in fields(Judgement)},
)
"""A row of a file: the types of `Judgement`, to the letter."""


def read_judgements(path: str, field: str) -> list[Judgement]:
    """The judgements of a jsonl or json file, in its order.

    Raises `UsageError` that names `field`, file, line and what is wrong: also if somebody answers a question twice, or
    if two answers to a question are about different texts.
    """
    table = read_rows(path, field)
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise UsageError(
            f"{field}: {path} has no {' and no '.join(missing)}, which every judgement has; its columns are "
            f"{', '.join(table.columns)}; files of pairs (prompt, chosen, rejected) do not say who wrote what"
        )
    judgements = each_row(table, field, _judgement)
    if problems := _contradictions(table, judgements, field):
        raise UsageError(*problems)
    return judgements


def write_judgements(judgements: Sequence[Judgement], path: Path) -> None:
    """Write them as jsonl, atomically. Raises `OSError`."""
    lines = (json.dumps(asdict(judgement), allow_nan=False) + "\n" for judgement in judgements)
    replace_file(path, "".join(lines).encode())


def _judgement(row: Mapping[str, Any]) -> Judgement:
    if unknown := sorted(set(row) - set(FIELDS)):
        raise ValueError(f"{unknown[0]}: a judgement has no such field; its fields are {', '.join(FIELDS)}")
    try:
        checked = ROW.model_validate(dict(row))
    except ValidationError as error:
        detail = error.errors()[0]
        where, given = ".".join(map(str, detail["loc"])), repr(detail["input"])[:50]
        raise ValueError(f"{where}: {detail['msg']} (given: {given})") from error
    found = Judgement(**{name: getattr(checked, name) for name in checked.model_fields_set})
    if found.seconds is not None and not 0 <= found.seconds < float("inf"):
        raise ValueError(f"seconds: {found.seconds} is no duration; write a number from 0, or null")
    if found.repeat < 0:
        raise ValueError(f"repeat: {found.repeat} is below 0, which is for the first time that it is asked")
    return found


def _contradictions(table: Table, judgements: Sequence[Judgement], field: str) -> list[str]:
    """Answers that were given twice, and questions whose texts differ from answer to answer."""
    answered: dict[tuple[str, str, int], str] = {}
    texts: dict[str, tuple[str, tuple[str, ...]]] = {}
    problems = []
    for place, given in zip(table.places, judgements, strict=True):
        key, about = (given.annotator, given.pair, given.repeat), (given.prompt, given.first, given.second)
        if key in answered:
            problems.append(f"{field}: {place}: {given.annotator} has answered pair {given.pair} before, "
                            f"at {answered[key]}; keep one of them, or count repeats in `repeat`")  # fmt: skip
        answered.setdefault(key, place)
        seen_at, seen = texts.setdefault(given.pair, (place, about))
        if seen != about:
            problems.append(f"{field}: {place}: prompt, first or second of pair {given.pair} differ from those at "
                            f"{seen_at}; another question needs another `pair`")  # fmt: skip
    return problems[:20]
