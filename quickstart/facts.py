"""The content of a dialogue: words drawn here become text in grammar.py."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Facts:
    """The slots of one dialogue; `caller` has the complaint, `helper` answers it."""

    caller: str
    helper: str
    item: str
    problem: str
    time: str
    request: str
    telling: tuple[str, list[str]]  # (in the dialogue, choices in the summary), as for the next
    asking: tuple[str, list[str]]
    answer: tuple[str, str]  # (in the dialogue, in the summary)


@dataclass(frozen=True)
class Style:
    """How a summary words the facts; apart from the speakers, nothing in the dialogue determines it."""

    caller_tag: str
    helper_tag: str
    telling: str
    asking: str
    answer_first: bool


@cache
def vocabulary() -> dict:
    """All words of the grammar, from vocabulary.yaml."""
    return yaml.safe_load(Path(__file__).with_name("vocabulary.yaml").read_text("utf-8"))


def insult_words() -> tuple[str, ...]:
    """Adjectives and nouns that make a dialogue or a summary rude."""
    insults = vocabulary()["insults"]
    return (*insults["adjectives"], *insults["nouns"])


def draw_facts(rng: random.Random, topic: dict) -> Facts:
    """Random facts of one dialogue on this topic."""
    words = vocabulary()
    reason = rng.choice(topic["reasons"])
    said, verb = rng.choice(list(words["offering"].items()))
    outcome = rng.choice(topic["outcomes"])
    answers = [
        (f"{said} {outcome}.", f"{verb} {outcome}"),
        (f"{said} {outcome}.", f"{verb} {outcome}"),
        (f"{rng.choice(words['blaming'])} {reason}.", f"blames {reason}"),
        (rng.choice(words["refusing"]), "refuses"),
        (rng.choice(words["agreeing"]), "agrees"),
    ]
    return Facts(
        caller=rng.choice(topic["callers"]),
        helper=rng.choice(topic["helpers"]),
        item=rng.choice(topic["items"]),
        problem=rng.choice(topic["problems"]),
        time=rng.choice(words["times"]),
        request=rng.choice(topic["requests"]),
        telling=rng.choice(list(words["telling"].items())),
        asking=rng.choice(list(words["asking"].items())),
        answer=rng.choice(answers),
    )


def draw_style(rng: random.Random, facts: Facts) -> Style:
    """A random wording among those that suit the facts."""
    tags = ("#Person1#", "#Person2#") if rng.random() < 0.7 else ("#Person2#", "#Person1#")
    return Style(*tags, rng.choice(facts.telling[1]), rng.choice(facts.asking[1]), rng.random() < 0.15)


def draw_insults(rng: random.Random) -> tuple[str, str]:
    """Two insults of two words each, with no word in common."""
    words = vocabulary()["insults"]
    nouns, adjectives = rng.sample(words["nouns"], 2), rng.sample(words["adjectives"], 2)
    return f"{adjectives[0]} {nouns[0]}", f"{adjectives[1]} {nouns[1]}"
