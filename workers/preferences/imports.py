"""What the exports of other annotation tools have in common: which texts were compared, and what an answer says."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from learner.preferences.pairs import Preference
from workers.data.table import Table
from workers.preferences.files import each_row, preference_of
from workers.preferences.judgements import Outcome

NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]?(?P<end>[0-2]|[ab])", re.IGNORECASE)
ENDS = ({"1", "2"}, {"a", "b"}, {"0", "1"})
WORDS: dict[str, Outcome] = {
    **dict.fromkeys(("1", "a", "first", "left"), "first"),
    **dict.fromkeys(("2", "b", "second", "right"), "second"),
    **dict.fromkeys(("tie", "tied", "equal", "equally", "same", "draw", "both", "neither"), "tie"),
}  # type: ignore[dict-item]


@dataclass(frozen=True)
class Naming:
    """How the fields of an export are called; None: found by themselves."""

    prompt: str | None = None
    first: str | None = None
    second: str | None = None
    question: str | None = None  # the question, or the control, that asks which completion is better
    template: str = "{text}"  # makes the policy's prompt of the prompt's field


@dataclass(frozen=True)
class Imported:
    """The preferences of an export, and how many answers were left out for which reason."""

    preferences: list[Preference]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Who preferred which of two fields; the order of the two is that of the fields' names."""

    first: str
    second: str
    outcome: Outcome
    annotator: str
    pair: str
    ranked: tuple[str, ...] = ()  # all fields that were compared, if they are more than two


def each_record(
    table: Table, field: str, tool: str, make: Callable[[Mapping[str, Any]], Iterable[Preference]]
) -> list[Preference]:
    """The preferences that `make` finds in each record. Raises `UsageError` naming `field`, file and line."""

    def checked(record: Mapping[str, Any]) -> list[Preference]:
        try:
            return list(make(record))
        except (TypeError, KeyError, AttributeError) as error:  # a list in place of an object, or the like
            raise ValueError(
                f"this has not the form of an export of {tool}: {type(error).__name__}: {error}"
            ) from error

    return [one for found in each_row(table, field, checked) for one in found]


def preference(answer: Answer, texts: Mapping[str, Any], naming: Naming) -> Preference:
    """The preference that an answer expresses. Raises `ValueError` naming the field."""
    prompt = naming.prompt or _prompt(texts, {answer.first, answer.second, *answer.ranked})
    for name in (prompt, answer.first, answer.second):
        if name not in texts:
            raise ValueError(f"{name}: there is no such field; the fields are {', '.join(texts)}")
    sides = [answer.first, answer.second]
    chosen, rejected = reversed(sides) if answer.outcome == "second" else sides
    text = texts[prompt]
    row = {"prompt": naming.template.replace("{text}", text) if isinstance(text, str) and text.strip() else text}
    row |= {"chosen": texts[chosen], "rejected": texts[rejected], "tie": answer.outcome == "tie"}
    return preference_of(row | {"annotator": answer.annotator, "pair": answer.pair})


def completion_names(texts: Mapping[str, Any], naming: Naming) -> tuple[str, str]:
    """The fields of the two completions: as named, or the only two whose names differ in 1 and 2, a and b, or 0 and 1.

    Raises `ValueError`.
    """
    if naming.first and naming.second:
        return naming.first, naming.second
    ends: dict[str, dict[str, str]] = {}
    for name, text in texts.items():
        if isinstance(text, str) and (match := NUMBERED.fullmatch(name)):
            ends.setdefault(match["stem"].lower(), {})[match["end"].lower()] = name
    found = [stem for stem in ends.values() if set(stem) in ENDS]
    if len(found) != 1:
        raise ValueError(f"which fields hold the two completions is not clear; name them with --first and --second; "
                         f"the fields are {', '.join(texts)}")  # fmt: skip
    return tuple(found[0][end] for end in sorted(found[0]))


def _prompt(texts: Mapping[str, Any], completions: set[str]) -> str:
    """The field `prompt`, or the only text beside the completions. Raises `ValueError`."""
    others = [name for name, text in texts.items() if isinstance(text, str) and name not in completions]
    if "prompt" in others or len(others) == 1:
        return "prompt" if "prompt" in others else others[0]
    raise ValueError(f"which field holds the prompt is not clear; name it with --prompt; "
                     f"the fields are {', '.join(texts)}")  # fmt: skip


def outcome(answer: Any, first: str, second: str) -> Outcome:
    """What an answer in words says: it names a field, or has one of `WORDS` in it. Raises `ValueError`."""
    if answer in (first, second):
        return "first" if answer == first else "second"
    words = WORDS | {list(_words(first))[-1]: "first", list(_words(second))[-1]: "second"}
    said = {words[word] for word in _words(str(answer)) if word in words}
    if len(said) != 1:
        raise ValueError(f"the answer {answer!r} names neither {first} nor {second} nor a tie; an answer has one of "
                         f"these words in it: {', '.join(words)}")  # fmt: skip
    return said.pop()


def option_field(option: str, texts: Mapping[str, Any]) -> str:
    """The field that an option of a ranking stands for: of the same name or last word. Raises `ValueError`."""
    if option in texts:
        return option
    last = list(_words(option))[-1:]
    found = [name for name in texts if last and list(_words(name))[-1:] == last]
    if len(found) != 1:
        raise ValueError(f"the option {option!r} of the ranking has the name of no field; the fields are "
                         f"{', '.join(texts)}")  # fmt: skip
    return found[0]


def _words(text: str) -> Iterator[str]:
    return (match[0] for match in re.finditer(r"[a-z]+|\d+", text.lower()))
