"""Preferences and ratings of a file or a folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from configs.errors import UsageError
from learner.preferences.pairs import Preference, Rating
from workers.data.table import Table
from workers.preferences.cells import absent, name, number, text, truth
from workers.preferences.rows import read_rows

Read = TypeVar("Read")
PAIRS = "a file of pairs has the columns prompt, chosen and rejected, and may have tie, margin, annotator and pair"
RATINGS = "a file of ratings has the columns prompt, completion and label (or good), and may have annotator"
SHOWN = 20
"""Rows whose problems are listed; of the others there is the number."""


def read_preferences(path: str, field: str) -> list[Preference]:
    """The preferences of a file or folder, in its order; prompts are taken as the policy reads them.

    Raises `UsageError` that names `field`, and of every bad row the file, the line, the column and the remedy.
    """
    return preferences_of(read_rows(path, field), path, field)


def read_ratings(path: str, field: str) -> list[Rating]:
    """The ratings of a file or folder, in its order. Raises `UsageError` as `read_preferences`."""
    table = read_rows(path, field)
    label = "good" if "good" in table.columns and "label" not in table.columns else "label"
    _check_columns(table, ("prompt", "completion", label), path, field, RATINGS)
    return each_row(table, field, _rating)


def preferences_of(table: Table, path: str, field: str, template: str = "{text}") -> list[Preference]:
    """The preferences of the rows of `path`; `template` makes the policy's prompt of a prompt, at {text}."""
    _check_columns(table, ("prompt", "chosen", "rejected"), path, field, PAIRS)
    found = each_row(table, field, preference_of)
    return [replace(one, prompt=template.replace("{text}", one.prompt)) for one in found]


def preference_of(row: Mapping[str, Any]) -> Preference:
    """The preference of a row. Raises `ValueError` naming the column."""
    tie = not absent(row.get("tie")) and truth(row, "tie")
    margin = None if absent(row.get("margin")) else number(row, "margin")
    found = Preference(
        prompt=text(row, "prompt"),
        chosen=text(row, "chosen"),
        rejected=text(row, "rejected"),
        tie=tie,
        margin=margin,
        annotator=name(row, "annotator"),
        pair=name(row, "pair"),
    )
    if found.chosen.strip() == found.rejected.strip() and not tie:
        raise ValueError("chosen and rejected are the same text: remove the row, or say that it is a tie: tie = true")
    if margin is not None and margin < 0:
        raise ValueError(f"margin: {margin} is below 0: exchange chosen and rejected")
    if margin and tie:
        raise ValueError(f"margin: a tie has none, not {margin}")
    return found


def _rating(row: Mapping[str, Any]) -> Rating:
    label = "label" if "label" in row else "good"
    return Rating(text(row, "prompt"), text(row, "completion"), truth(row, label), name(row, "annotator"))


def _check_columns(table: Table, needed: Sequence[str], path: str, field: str, form: str) -> None:
    if missing := [column for column in needed if column not in table.columns]:
        raise UsageError(
            f"{field}: {path} has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(table.columns)}; {form}; `pairs import` reads other forms"
        )


def each_row(table: Table, field: str, make: Callable[[Mapping[str, Any]], Read]) -> list[Read]:
    """What `make` makes of each row. It raises `ValueError` for a bad one; all of them are one `UsageError`."""
    found, problems = [], []
    for place, row in table:
        try:
            found.append(make(row))
        except ValueError as error:
            problems.append(f"{field}: {place}: {error}")
    if len(problems) > SHOWN:
        problems[SHOWN:] = [f"{field}: {len(problems) - SHOWN} more rows have problems"]
    if problems:
        raise UsageError(*problems)
    return found
