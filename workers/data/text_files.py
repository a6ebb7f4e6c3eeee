"""Rows of csv, tsv and json files, also gzipped, each with its place for messages.

These are read here, not by `datasets`, whose readers (pandas, pyarrow) guess: a row with one comma too many shifts all
columns, the words NA and None become null, texts like 2024-01-01 become times, and lines are not named.
"""

import csv
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from configs.errors import UsageError

Row = tuple[str, Mapping[str, Any]]
"""Place, such as `train.csv line 3`, and cells by column."""
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
"""Numbers as json has them: 007 and 1_000 are texts."""


class Broken(Exception):
    """A file that cannot be read: what is wrong, and where in it."""


def read_text_file(path: Path, encoding: str, texts: frozenset[str], newline: str | None = None) -> list[Row]:
    """All rows. Cells of csv are text; in columns that are not in `texts` and hold nothing else, numbers.

    Line ends in cells become \\n; with newline="" they stay as they are. Raises `UsageError` naming file and line.
    """
    kind = next(suffix for suffix in reversed(path.suffixes) if suffix != ".gz")
    try:
        with _opened(path, encoding, newline) as file:
            rows = list(_csv_rows(file, DELIMITERS[kind]) if kind in DELIMITERS else _json_rows(file))
    except (Broken, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"data.path: {path} cannot be read: {error}") from error
    if not rows:
        raise UsageError(f"data.path: {path} cannot be read: it has no rows")
    if kind in DELIMITERS:
        _convert_numbers([row for _, row in rows], texts)
    return [(f"{path} {place}", row) for place, row in rows]


@contextmanager
def _opened(path: Path, encoding: str, newline: str | None) -> Iterator[TextIO]:
    """The file as text."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        start = file.read(3)
    encoding = next((found for mark, found in BYTE_ORDER_MARKS.items() if start.startswith(mark)), encoding)
    try:
        with opener(path, "rt", encoding=encoding, newline=newline) as file:
            yield file
    except UnicodeError as error:
        with opener(path, "rb") as file:
            line = next((n for n, line in enumerate(file, 1) if not _decodes(line, encoding)), 1)
        raise Broken(
            f"line {line} is not {encoding}; save it as UTF-8, or name its encoding, such as --data.encoding cp1252"
        ) from error


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return False
    return True


def _csv_rows(file: TextIO, delimiters: str) -> Iterator[Row]:
    """Rows of a file with a header; its delimiter is the one that gives the header the most columns."""
    csv.field_size_limit(sys.maxsize)
    header = next((line for line in file if line.strip()), "")
    delimiter = max(delimiters, key=header.count)
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    names: list[str] = []
    line = 0
    try:
        for cells in reader:
            first, line = line + 1, reader.line_num
            if not names:
                names = _header([cell.strip() for cell in cells])
            elif len(cells) == len(names):
                yield f"line {first}", dict(zip(names, cells, strict=True))
            elif cells:
                raise Broken(
                    f"line {first} has {len(cells)} cells, the header has {len(names)} (separated by {delimiter!r}); "
                    f'put quotes around cells that contain {delimiter!r}: "..."'
                )
    except csv.Error as error:
        raise Broken(
            f'line {line + 1} is not valid csv: {error}; a cell with quotes in it is written "...", with each of them '
            f'doubled: ""'
        ) from error


def _header(names: list[str]) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Broken(f"its header has two columns called {twice[0]!r}; rename one")
    return names


def _convert_numbers(rows: list[dict[str, Any]], texts: frozenset[str]) -> None:
    """Replace the cells of numeric columns by numbers, and empty ones among them by None."""
    for name in rows[0].keys() - texts:
        cells = [row[name] for row in rows]
        if any(cells) and all(not cell or NUMBER.fullmatch(cell) for cell in cells):
            for row in rows:
                row[name] = json.loads(row[name] or "null")


def _json_rows(file: TextIO) -> Iterator[Row]:
    """Rows of a list of objects, or of a file with an object on each line."""
    start = next((line for line in file if line.strip()), "")
    file.seek(0)
    if start.lstrip().startswith("["):
        objects = ((f"row {number}", entry) for number, entry in enumerate(_parsed(file.read(), 1), 1))
    else:
        objects = ((f"line {n}", _parsed(line.rstrip(), n)) for n, line in enumerate(file, 1) if line.strip())
    for place, entry in objects:
        if not isinstance(entry, dict):
            raise Broken(f"{place} is not an object with the columns as keys")
        yield place, entry


def _parsed(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = (
            f"line {line + error.lineno - 1}, character {error.colno}" if hasattr(error, "lineno") else f"line {line}"
        )
        raise Broken(
            f"{where} is not JSON ({getattr(error, 'msg', 'nested too deeply')}); a file is one list of "
            f"objects, or has an object on each line"
        ) from error
