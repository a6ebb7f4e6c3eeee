"""Removal of what one annotator said from a file, as they may ask for at any time."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from configs.errors import UsageError
from learner.atomic_files import replace_file
from workers.data.text_files import DELIMITERS
from workers.preferences.cells import unguarded

Record = tuple[str | None, str]
"""The annotator of a record, and its own text in the file."""


def delete_annotator(path: Path, annotator: str) -> int:
    """Remove all records of the annotator from a jsonl, csv or tsv file, atomically; the rest keeps its bytes.

    Returns their number. Raises `UsageError` if there is none.
    """
    read = READERS.get(path.suffix)
    if not read:
        raise UsageError(
            f"FILE: {path}: one annotator's answers can be removed from jsonl, csv and tsv files; "
            f"`pairs export` and `pairs import` make a jsonl file of others"
        )
    if not path.is_file():
        raise UsageError(f"FILE: {path} does not exist")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            records = list(read(file.read()))
    except (UnicodeError, json.JSONDecodeError, csv.Error) as error:
        raise UsageError(f"FILE: {path} cannot be read: {error}") from error
    kept = [text for name, text in records if name != annotator]
    if len(kept) == len(records):
        names = ", ".join(sorted({name for name, _ in records if name is not None})) or "nobody"
        raise UsageError(f"NAME: {path} has no answer by {annotator!r}; its answers are by: {names}")
    replace_file(path, "".join(kept).encode())
    return len(records) - len(kept)


def _json_lines(text: str) -> Iterator[Record]:
    for line in io.StringIO(text, newline=""):
        row = json.loads(line) if line.strip() else None
        name = row.get("annotator") if isinstance(row, dict) else None
        yield (None if name is None else str(name)), line


def _cells(text: str) -> Iterator[Record]:
    lines = io.StringIO(text, newline="").readlines()
    header = next((line for line in lines if line.strip()), "")
    reader = csv.reader(lines, delimiter=max(DELIMITERS[".csv"], key=header.count), strict=True)
    done, column = 0, None
    for cells in reader:
        own, done = "".join(lines[done : reader.line_num]), reader.line_num
        if column is None and cells:
            names = [cell.strip("\ufeff ") for cell in cells]
            column = names.index("annotator") if "annotator" in names else len(names)
            yield None, own
        else:
            named = unguarded({"annotator": cells[column]}) if column is not None and column < len(cells) else {}
            yield named.get("annotator"), own


READERS = {".jsonl": _json_lines, ".csv": _cells, ".tsv": _cells}
