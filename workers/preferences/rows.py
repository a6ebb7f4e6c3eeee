"""Rows of the files that preferences, ratings, judgements and other tools' exports are in."""

import re
from pathlib import Path

from configs.data import DataConfig
from configs.errors import UsageError
from workers.data.reading import read_table, split_names
from workers.data.splits import NAME, SINGLE
from workers.data.table import Table
from workers.data.text_files import DELIMITERS, read_text_file
from workers.preferences.cells import unguarded

TEXTS = ("prompt", "chosen", "rejected", "completion", "annotator", "pair")
"""Columns that stay texts in a csv file, also if they hold nothing but numbers."""
CSV_PLACE = re.compile(r"\.[ct]sv(\.gz)? line \d+$")


def read_rows(path: str, field: str) -> Table:
    """All rows of a jsonl, json, csv, tsv or parquet file, a folder of them, or a folder of `save_to_disk`.

    Of several splits it is the one called train. Raises `UsageError` that names `field`, and file and line.
    """
    if not Path(path).exists():
        raise UsageError(f"{field}: {path} does not exist; name a jsonl, json, csv, tsv or parquet file or a folder")
    try:
        table = _table(Path(path))
    except UsageError as error:
        raise UsageError(*(_of_field(problem, field) for problem in error.problems)) from error
    rows = [unguarded(row) if CSV_PLACE.search(place) else row for place, row in table]
    return Table(table.columns, rows, table.places)


def _table(path: Path) -> Table:
    match = NAME.fullmatch(path.name)
    if path.is_file() and match and match["kind"] in DELIMITERS:  # its cells keep their line ends: they are exact
        return Table.of_rows(read_text_file(path, "utf-8", frozenset(TEXTS), newline=""))
    config = DataConfig(path=str(path), prompt_column=TEXTS[0], reference_column=TEXTS[1:])
    splits = split_names(config)
    if len(splits) > 1 and SINGLE not in splits:
        raise UsageError(
            f"data.path: {path} has several splits, none called {SINGLE}: {', '.join(splits)}; "
            f"name the file or the folder of one"
        )
    return read_table(config, SINGLE if SINGLE in splits or not splits else splits[0])


def _of_field(problem: str, field: str) -> str:
    """A problem of a data set as one of the field; there is no setting for its encoding."""
    return re.sub(r", or name its encoding.*$", "", f"{field}: {problem.removeprefix('data.path: ')}")
