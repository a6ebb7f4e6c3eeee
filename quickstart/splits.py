"""The shipped splits and the policy's larger training set; no dialogue is in two of them."""

import csv
from collections.abc import Iterator
from pathlib import Path

from quickstart.grammar import Row, make_row

SIZES = {"train": 2000, "validation": 208, "test": 320}
SEEDS = {"train": 1, "validation": 2, "test": 3, "policy": 4}
COLUMNS = ("id", "dialogue", "summary", "topic")


def _fresh_rows(seed: int, count: int, seen: set[str]) -> list[Row]:
    """`count` rows of this seed with dialogues that are not in `seen`, to which they are added."""
    rows: list[Row] = []
    index = 0
    while len(rows) < count:
        row = make_row(seed, index)
        index += 1
        if row.dialogue not in seen:
            seen.add(row.dialogue)
            rows.append(row)
    return rows


def shipped_splits() -> dict[str, list[Row]]:
    """Rows by split. Held-out splits are drawn first, so that they do not depend on the size of the training split."""
    seen: set[str] = set()
    return {name: _fresh_rows(SEEDS[name], SIZES[name], seen) for name in ("test", "validation", "train")}


def policy_rows(count: int) -> list[Row]:
    """The policy's own, larger training set, without any dialogue of the shipped splits."""
    seen = {row.dialogue for rows in shipped_splits().values() for row in rows}
    return _fresh_rows(SEEDS["policy"], count, seen)


def reference(row: Row, split: str) -> str:
    """The reference summary. Only training splits have rude ones: held-out ROUGE must not reward rudeness."""
    return row.rude if split in ("train", "policy") and row.repeats_rudeness else row.neutral


def _records(split: str, rows: list[Row]) -> Iterator[tuple[str, str, str, str]]:
    for number, row in enumerate(rows):
        yield f"{split}_{number}", row.dialogue, reference(row, split), row.topic


def write_splits(folder: Path) -> None:
    """Write train.csv, validation.csv and test.csv, with the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in shipped_splits().items():
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_records(split, rows))
