"""The reward: how much of a record is right, by a program. It needs no model.

A record is a JSON object with exactly the fields of the data's column `record`, and scores the share of them that are
right. What is no JSON, has another field or lacks one is of no use to whoever reads it, and scores 0.
"""

import json
from collections.abc import Sequence
from typing import Any

MAX_CHARACTERS = 500
"""Longer texts are not read: brackets in brackets would exhaust Python's stack."""


def fields_right(completions: Sequence[str], record: Sequence[str], **_: Any) -> list[float]:
    """Share of each completion's fields that are right, 0 to 1."""
    return [_share(read(text), json.loads(right)) for text, right in zip(completions, record, strict=True)]


def read(text: str) -> dict[str, Any] | None:
    """The object in a text, or None if it is none or has a field twice."""
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        found = json.loads(text, object_pairs_hook=_fields)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


def _share(found: dict[str, Any] | None, right: dict[str, Any]) -> float:
    if found is None or found.keys() != right.keys():
        return 0.0
    # Types count: in Python 2 == 2.0, and 1 == True.
    return sum(type(found[name]) is type(value) and found[name] == value for name, value in right.items()) / len(right)
