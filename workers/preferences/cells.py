"""Cells of a file of pairs: their values, and the guard that keeps spreadsheets from running texts as formulas."""

import math
import re
from collections.abc import Mapping
from typing import Any

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
GUARDABLE = re.compile(r"'*[=+\-@\t\r]")
GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(cell: str) -> str:
    """The text as a csv cell that no spreadsheet takes for a formula (CWE-1236): ' before = + - @ tab and return.

    Texts that begin with ' and such a character get another one, so that `unguarded` gives every text back.
    """
    return f"'{cell}" if GUARDABLE.match(cell) else cell


def unguarded(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a csv file without the guard of its cells."""
    return {column: cell[1:] if isinstance(cell, str) and GUARDED.match(cell) else cell for column, cell in row.items()}


def absent(cell: Any) -> bool:
    """True if the cell holds nothing: null or an empty text."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def text(row: Mapping[str, Any], column: str) -> str:
    """The text of a column, as it is. Raises `ValueError` if there is none."""
    cell = row.get(column)
    if absent(cell):
        raise ValueError(f"{column}: there is no text; write one, or remove the row")
    if isinstance(cell, (list, dict)):
        raise ValueError(f"{column}: this is a {type(cell).__name__}, not a text; write the messages out as one text")
    if not isinstance(cell, str):
        raise ValueError(f"{column}: {cell!r} is not a text; put it in quotes")
    if lone := re.search("[\ud800-\udfff]", cell):
        raise ValueError(f"{column}: character {lone.start() + 1} is half of a surrogate pair ({lone[0]!a}), "
                         f"as of an emoji that was cut in two; remove it")  # fmt: skip
    return cell


def name(row: Mapping[str, Any], column: str) -> str | None:
    """The name or id of a column; None if there is none. Raises `ValueError`."""
    cell = row.get(column)
    if absent(cell):
        return None
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else text(row, column)


def truth(row: Mapping[str, Any], column: str) -> bool:
    """The truth value of a column. Raises `ValueError` if it is none."""
    cell = row.get(column)
    if isinstance(cell, bool):
        return cell
    word = f"{cell:g}" if isinstance(cell, float) else str(cell).strip().lower()
    if word not in TRUTHS:
        raise ValueError(f"{column}: {cell!r} is neither true nor false (yes, no, 1 and 0 are understood too)")
    return TRUTHS[word]


def number(row: Mapping[str, Any], column: str) -> float:
    """The finite number of a column. Raises `ValueError` if it is none."""
    cell = row.get(column)
    try:
        value = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column}: {cell!r} is not a finite number; write one, or leave it empty")
    return value
