"""How far the people of a campaign are, and how well they agree with themselves and with what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from workers.preferences.judgements import Judgement


@dataclass(frozen=True)
class Person:
    """What one annotator has done."""

    annotator: str
    answers: int  # without skips and repeats
    skipped: int
    repeats: int  # pairs answered twice
    repeats_agreed: int  # with the same outcome
    known: int  # pairs with a known answer that were answered
    known_right: int
    seconds: float | None  # median time of an answer; None without any


def statistics(judgements: Sequence[Judgement]) -> list[Person]:
    """Each annotator's figures, by name."""
    names = sorted({one.annotator for one in judgements})
    return [_person(name, [one for one in judgements if one.annotator == name]) for name in names]


def _person(name: str, said: Sequence[Judgement]) -> Person:
    answers = [one for one in said if one.outcome != "skip"]
    first = {one.pair: one.outcome for one in answers if not one.repeat}
    again = [one for one in answers if one.repeat and one.pair in first]
    known = [one for one in answers if one.role == "qualification"]
    return Person(
        name,
        answers=len(first),
        skipped=len(said) - len(answers),
        repeats=len(again),
        repeats_agreed=sum(one.outcome == first[one.pair] for one in again),
        known=len(known),
        known_right=sum(one.outcome == one.expected for one in known),
        seconds=median(one.seconds for one in answers) if answers else None,
    )
