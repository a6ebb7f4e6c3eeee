"""The rows of a split as they were read: nothing is left out yet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from workers.data.text_files import Row


@dataclass(frozen=True)
class Table:
    """Rows with the place of each, such as `train.csv line 3`."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]] | datasets.Dataset
    places: Sequence[str]

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> "Table":
        """The table of rows that were read one by one; its columns are all that occur."""
        columns = dict.fromkeys(name for _, row in rows for name in row)
        return cls(list(columns), [row for _, row in rows], [place for place, _ in rows])

    @classmethod
    def of_dataset(cls, rows: datasets.Dataset, name: str) -> "Table":
        """The table of a data set of this name."""
        return cls(rows.column_names, rows, [f"{name} row {number}" for number in range(1, len(rows) + 1)])

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Row]:
        return zip(self.places, self.rows, strict=True)

    def part(self, start: int, stop: int) -> "Table":
        """Rows from `start` to before `stop`."""
        rows = self.rows
        part = rows.select(range(start, stop)) if isinstance(rows, datasets.Dataset) else rows[start:stop]
        return Table(self.columns, part, self.places[start:stop])


def join(tables: Sequence[Table]) -> Table:
    """One table after the other."""
    return tables[0] if len(tables) == 1 else Table.of_rows([row for table in tables for row in table])
