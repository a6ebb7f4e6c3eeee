"""Files of pairs and of ratings: jsonl, json, csv, tsv and parquet files, folders of them, and folders of `save_to_disk`."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from configs.data import DataConfig
from configs.errors import UsageError
from learner.preferences.pairs import Preference, Rating
from workers.data.reading import read_table, split_names
from workers.data.splits import SINGLE
from workers.data.table import Table
from workers.preferences.cells import absent, name, number, text, truth, unguarded

Read = TypeVar("Read")
PAIRS = "a file of pairs has the columns prompt, chosen and rejected, and may have tie, margin, annotator and pair"
RATINGS = "a file of ratings has the columns prompt, completion and label (or good), and may have annotator"
SHOWN = 20
"""Rows whose problems are listed; of the others there is the number."""
CSV_PLACE = re.compile(r"\.[ct]sv(\.gz)? line \d+$")


def read_preferences(path: str, field: str) -> list[Preference]:
    """The preferences of a file or folder, in its order; prompts are taken as the policy reads them.

    Raises `UsageError` that names `field`, and of every bad row the file, the line, the column and the remedy.
    """
    return _read(path, field, ("prompt", "chosen", "rejected"), PAIRS, _preference)


def read_ratings(path: str, field: str) -> list[Rating]:
    """The ratings of a file or folder, in its order. Raises `UsageError` as `read_preferences`."""
    return _read(path, field, ("prompt", "completion", "label"), RATINGS, _rating)


def _preference(row: Mapping[str, Any]) -> Preference:
    """Raises `ValueError` naming the column."""
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
    """Raises `ValueError` naming the column."""
    label = "label" if "label" in row else "good"
    return Rating(text(row, "prompt"), text(row, "completion"), truth(row, label), name(row, "annotator"))


def _read(
    path: str, field: str, needed: Sequence[str], form: str, make: Callable[[Mapping[str, Any]], Read]
) -> list[Read]:
    table = _table(path, field)
    columns = {"label" if column == "good" else column for column in table.columns}
    if missing := [column for column in needed if column not in columns]:
        raise UsageError(
            f"{field}: {path} has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(table.columns)}; {form}"
        )
    found, problems = [], []
    for place, row in table:
        try:
            found.append(make(unguarded(row) if CSV_PLACE.search(place) else row))
        except ValueError as error:
            problems.append(f"{field}: {place}: {error}")
    if len(problems) > SHOWN:
        problems[SHOWN:] = [f"{field}: {len(problems) - SHOWN} more rows of {path} have problems"]
    if problems:
        raise UsageError(*problems)
    return found


def _table(path: str, field: str) -> Table:
    """All rows. Raises `UsageError` naming `field`."""
    if not Path(path).exists():
        raise UsageError(f"{field}: {path} does not exist; name a jsonl, json, csv, tsv or parquet file or a folder")
    # The columns named here stay texts in a csv file, also if they hold nothing but numbers.
    config = DataConfig(
        path=path, prompt_column="prompt", reference_column=("chosen", "rejected", "completion", "annotator", "pair")
    )
    try:
        splits = split_names(config)
        if len(splits) > 1 and SINGLE not in splits:
            raise UsageError(f"data.path: {path} has several splits, none called {SINGLE}: {', '.join(splits)}; "
                             f"name the file or folder of one")  # fmt: skip
        return read_table(config, SINGLE if SINGLE in splits or not splits else splits[0])
    except UsageError as error:
        raise UsageError(*(f"{field}: {problem.removeprefix('data.path: ')}" for problem in error.problems)) from error
