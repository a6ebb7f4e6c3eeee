"""Preferences: the data that reward models and policies learn from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt, of which somebody preferred one."""

    prompt: str  # as the policy reads it: data.template is already applied
    chosen: str
    rejected: str
    tie: bool = False  # neither was preferred: the order of the two means nothing
    margin: float | None = None  # by how much, where that is known
    annotator: str | None = None
    pair: str | None = None  # id of the question: several answers to it share it


@dataclass(frozen=True)
class Rating:
    """One completion with a thumb up or down."""

    prompt: str  # as in `Preference`
    completion: str
    good: bool
    annotator: str | None = None
