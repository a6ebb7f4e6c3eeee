"""What a reward is: a function of completions, each with all that is known about its prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from learner.types import Rollouts


@dataclass(frozen=True)
class Item:
    """One completion to score."""

    completion: str
    prompt: str = ""
    references: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)  # all columns of the data
    completion_ids: tuple[int, ...] = ()  # the policy's tokens; empty for texts that no policy has written


Value = float | None | Exception
"""A score; or that there is none, with the reason if it is known."""
Reward = Callable[[Sequence[Item]], Sequence[Value]]
"""Items -> a value of each."""


class MissingColumn(Exception):
    """A column that a part of the reward reads and the data does not have."""


def cell(item: Item, column: str) -> Any:
    """The value of a column. Raises `MissingColumn`."""
    if column not in item.row:
        raise MissingColumn(f"the data has no column {column!r}; it has {', '.join(item.row) or 'none'}")
    return item.row[column]


def items_of(rollouts: Rollouts) -> list[Item]:
    """The completions of one unit."""
    unit = rollouts.unit
    ids = [
        tuple(row[keep].tolist()) for row, keep in zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
    ]
    columns = rollouts.texts, unit.prompts, unit.references, unit.columns, ids
    return [Item(*parts) for parts in zip(*columns, strict=True)]


def source_texts(item: Item, source: str) -> tuple[str, ...]:
    """The texts that a completion is compared with: its prompt, its references, or a column of the data.

    Raises `MissingColumn`.
    """
    if source in ("prompt", "reference"):
        return (item.prompt,) if source == "prompt" else item.references
    return (str(cell(item, source)),)
