"""Rows of a task: drawn by (seed, index), none twice, and written as csv splits."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SEEDS = {"train": 1, "validation": 2, "test": 3, "policy": 4}
"""`policy` rows, on which a shipped policy was trained, are not shipped."""
SIZES = {"test": 320, "validation": 200, "train": 2000}
"""Rows that ship."""


@dataclass(frozen=True)
class Row:
    """A question with its right answer, and the answer that the policy is trained on."""

    prompt: str
    reference: str
    taught: str  # often with a slip
    topic: str  # kind of question


@dataclass(frozen=True)
class Task:
    """What rows come from, and the columns that they get: of the prompt, the reference and the topic."""

    make_row: Callable[[int, int], Row]
    columns: tuple[str, str, str]

    def shipped(self) -> dict[str, list[Row]]:
        """Rows by split; held-out splits are drawn first, so that they do not depend on the size of the other."""
        seen: set[str] = set()
        return {split: self._draw(split, count, seen) for split, count in SIZES.items()}

    def policy_rows(self, count: int) -> list[Row]:
        """The policy's own, larger training set, without any prompt of the shipped splits."""
        return self._draw("policy", count, {row.prompt for rows in self.shipped().values() for row in rows})

    def _draw(self, split: str, count: int, seen: set[str]) -> list[Row]:
        """`count` rows with prompts that are not in `seen`, to which they are added."""
        rows: list[Row] = []
        index = 0
        while len(rows) < count:
            row = self.make_row(SEEDS[split], index)
            index += 1
            if row.prompt not in seen:
                seen.add(row.prompt)
                rows.append(row)
        return rows

    def write(self, folder: Path) -> None:
        """Write a csv file per shipped split, with the same bytes every time."""
        folder.mkdir(parents=True, exist_ok=True)
        for split, rows in self.shipped().items():
            with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("id", *self.columns))
                writer.writerows((f"{split}_{i}", row.prompt, row.reference, row.topic) for i, row in enumerate(rows))
