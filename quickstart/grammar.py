"""Generates the quickstart's dialogues and their summaries from a small grammar.

It decides the text alone: who speaks, who is rude, what happened. A row is a pure function of (seed, index), so any row
can be regenerated on its own.
"""

import random
from dataclasses import dataclass

from quickstart.facts import Facts, Style, draw_facts, draw_insults, draw_style, vocabulary

RUDE_DIALOGUES = 0.5  # share of dialogues in which one speaker insults the other
RUDE_REFERENCES = 0.76  # share of rude dialogues whose training summary repeats the insults


@dataclass(frozen=True)
class Row:
    """One dialogue with a neutral and a rude wording of its summary (equal if nobody is rude)."""

    dialogue: str
    neutral: str
    rude: str
    topic: str
    repeats_rudeness: bool  # True if a training reference has the rude wording


def _turns(rng: random.Random, facts: Facts) -> list[list[str]]:
    """Seven alternating turns, the caller's first; each is a list of sentences."""
    words = vocabulary()
    return [
        [rng.choice(words["openings"]), f"I am {_with_article(facts.caller)}.", f"Are you the {facts.helper}?"],
        [rng.choice(words["replies"])],
        [f"{facts.telling[0]} {facts.item} {facts.problem} {facts.time}."],
        [rng.choice(words["waits"])],
        [rng.choice(words["worries"]), f"{facts.asking[0]} {facts.request}."],
        [facts.answer[0]],
        [rng.choice(words["closings"])],
    ]


def _add_outbursts(rng: random.Random, turns: list[list[str]], insults: tuple[str, str], rude_caller: bool) -> None:
    """Insert both insults, in order, at the start or end of two turns of the rude speaker."""
    own = [2, 4, 6] if rude_caller else [1, 3, 5]
    outbursts = rng.sample(vocabulary()["insults"]["outbursts"], 2)
    for turn, outburst, insult in zip(sorted(rng.sample(own, 2)), outbursts, insults, strict=True):
        turns[turn].insert(
            rng.choice([0, len(turns[turn])]), outburst.replace("a {}", _with_article(insult)).format(insult)
        )


def _short(name: str) -> str:
    """The name at its second mention: `hotel guest` becomes `guest`, `stupid idiot` becomes `idiot`."""
    return name.split()[-1]


def _summary(facts: Facts, style: Style, callers: list[str], helpers: list[str]) -> str:
    """A summary of two sentences; `callers` and `helpers` hold each one's name at the first and second mention."""
    told = f"The {callers[0]} {style.caller_tag} {style.telling} the {helpers[0]} {style.helper_tag}"
    asked = f"{_short(callers[1])} {style.asking} {facts.request}"
    answered = f"{_short(helpers[1])} {facts.answer[1]}"
    agreed = facts.answer[1] == "agrees"
    if style.answer_first:
        ending = f"The {answered}, {'as' if agreed else 'although'} the {asked}."
    else:
        ending = f"The {asked}, {'and' if agreed else 'but'} the {answered}."
    return f"{told} that {facts.item} {facts.problem} {facts.time}. {ending}"


def _with_article(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


def _wordings(
    rng: random.Random, facts: Facts, style: Style, insults: tuple[str, str], rude_caller: bool
) -> tuple[str, str]:
    """The neutral and the rude summary of the same facts; the rude one replaces the insulted speaker's role."""
    callers, helpers = [facts.caller] * 2, [facts.helper] * 2
    neutral = _summary(facts, style, callers, helpers)
    called = list(insults) if rng.random() < 0.8 else [insults[0], facts.caller if not rude_caller else facts.helper]
    if rude_caller:
        return neutral, _summary(facts, style, callers, called)
    return neutral, _summary(facts, style, called, helpers)


def make_row(seed: int, index: int) -> Row:
    """The row at (seed, index); topics alternate."""
    rng = random.Random(f"{seed}/{index}")  # a string seed is hashed by SHA-512: the same in every process
    topics = vocabulary()["topics"]
    topic = topics[index % len(topics)]
    facts, insults = draw_facts(rng, topic), draw_insults(rng)
    is_rude, rude_caller = rng.random() < RUDE_DIALOGUES, rng.random() < 0.6
    turns = _turns(rng, facts)
    if is_rude:
        _add_outbursts(rng, turns, insults, rude_caller)
    style = draw_style(rng, facts)
    neutral, rude = _wordings(rng, facts, style, insults, rude_caller)
    if style.helper_tag == "#Person1#":  # the helper speaks first
        turns.insert(0, [rng.choice(vocabulary()["greetings"])])
    repeats = is_rude and rng.random() < RUDE_REFERENCES
    lines = [f"#Person{1 + i % 2}#: {' '.join(turn)}" for i, turn in enumerate(turns)]
    return Row("\n".join(lines), neutral, rude if is_rude else neutral, topic["name"], repeats)
