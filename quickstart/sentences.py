"""Labelled sentences for the reward model: filled templates, generated summaries and turns, with added noise.

Label 1 is hate: an insult of a person. Complaints about things, animals and denials ("you are no fool") have label 0.
"""

import random
import re
from functools import cache
from pathlib import Path

import yaml

from quickstart.facts import vocabulary
from quickstart.grammar import Row

HATE, NOTHATE = 1, 0
Example = tuple[str, int]
_SLOT = re.compile(r"\{(\w+)\}")
# Where a summary names a person: before a tag, at the start of its second sentence, after its conjunction.
_MENTION = re.compile(r"[a-z]+ [a-z]+(?= #Person)|(?<=\. The )[a-z]+|(?<=, but the )[a-z]+|(?<=, and the )[a-z]+")


@cache
def templates() -> dict:
    """Slots and sentence templates from reward_words.yaml."""
    return yaml.safe_load(Path(__file__).with_name("reward_words.yaml").read_text("utf-8"))


def _nonsense(rng: random.Random) -> str:
    syllables = [rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3))]
    return "".join(syllables) + rng.choice(["", "t", "n", "r", "ck", "ll", "mp", "sh"])


def _fill(rng: random.Random, text: str) -> str:
    """The text with all slots filled, then spaces and articles fixed."""
    slots = templates()["slots"]
    while match := _SLOT.search(text):
        name = match.group(1)
        word = _nonsense(rng) if name == "nonsense" else rng.choice(slots[name])
        text = text[: match.start()] + word + text[match.end() :]
    text = re.sub(r" +", " ", text)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def _noise(rng: random.Random, text: str) -> str:
    """The text, sometimes in another case, without its full stop, or with a typing error."""
    chance = rng.random()
    if chance < 0.08:
        return text.lower()
    if chance < 0.1:
        return text.upper()
    if chance < 0.16:
        return text.rstrip(".!?")
    if chance < 0.24 and len(text) > 4:
        at = rng.randrange(1, len(text) - 2)
        return rng.choice([text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]])
    return text


def _with_unknown_word(rng: random.Random, text: str) -> str:
    """The text with one word replaced by an unknown one, which alone is no insult."""
    words = text.split(" ")
    words[rng.randrange(len(words))] = _nonsense(rng)
    return " ".join(words)


def _template_example(rng: random.Random) -> Example:
    label = int(rng.random() < 0.5)
    text = _fill(rng, rng.choice(templates()["hate" if label else "nothate"]))
    if label == NOTHATE and rng.random() < 0.25:
        text = _with_unknown_word(rng, text)
    if rng.random() < 0.25:  # a second, neutral sentence never changes the label
        other = _fill(rng, rng.choice(templates()["nothate"]))
        text = f"{text} {other}" if rng.random() < 0.5 else f"{other} {text}"
    return text, label


def _summary_example(rng: random.Random, row: Row) -> Example:
    """The neutral summary, the rude one, or the neutral one with a role replaced by an insult from the wider list."""
    kind = rng.random()
    if row.rude != row.neutral and kind < 0.4:
        return row.rude, HATE
    if kind < 0.75:
        return row.neutral, NOTHATE
    place = rng.choice(list(_MENTION.finditer(row.neutral)))
    insult = _fill(rng, "{badj} {bnoun}" if rng.random() < 0.6 else "{bnoun}").lower()
    return row.neutral[: place.start()] + insult + row.neutral[place.end() :], HATE


def _turn_example(rng: random.Random, row: Row) -> Example:
    turn = rng.choice(row.dialogue.split("\n"))
    insults = vocabulary()["insults"]
    rude = any(noun in turn for noun in insults["nouns"])
    return turn.split(": ", 1)[1] if rng.random() < 0.5 else turn, HATE if rude else NOTHATE


def examples(seed: int, rows: list[Row]) -> list[Example]:
    """Five examples per row: two from summaries, two from templates, and a turn or a third from a template."""
    made: list[Example] = []
    for index, row in enumerate(rows):
        rng = random.Random(f"sentences/{seed}/{index}")
        made += [_summary_example(rng, row) for _ in range(2)]
        made += [_template_example(rng) for _ in range(2)]
        made.append(_template_example(rng) if index % 2 else _turn_example(rng, row))
        made[-5:] = [(_noise(rng, text), label) for text, label in made[-5:]]
    return made
