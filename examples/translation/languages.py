"""Two invented languages: a lexicon drawn from a seed, and a grammar each, in which every sentence has eight words.

English   The old farmers saw a new boat near the river.
Veltan    adverbial, particle, subject, object, verb; adjectives follow nouns; suffixes for number, case and past
Korish    verb, subject, object, adverbial; adjectives precede nouns; particles for number, a suffix for past
"""

import random
from dataclasses import dataclass
from functools import cache

VELTAN, KORISH = "vel_Latn", "kor_Latn"
"""Tokens that name the target language, in the form of NLLB's."""
PEOPLE = {"farmer": "farmers", "child": "children", "woman": "women", "man": "men", "teacher": "teachers",
          "king": "kings", "baker": "bakers", "sailor": "sailors", "doctor": "doctors"}  # fmt: skip
THINGS = {"boat": "boats", "apple": "apples", "book": "books", "letter": "letters", "lamp": "lamps", "hat": "hats",
          "chair": "chairs", "flower": "flowers", "knife": "knives", "box": "boxes"}  # fmt: skip
VERBS = {
    "see": ("sees", "saw"), "find": ("finds", "found"), "take": ("takes", "took"), "bring": ("brings", "brought"),
    "sell": ("sells", "sold"), "like": ("likes", "liked"), "hide": ("hides", "hid"), "paint": ("paints", "painted"),
    "want": ("wants", "wanted"), "carry": ("carries", "carried"),
}  # fmt: skip
OF_PEOPLE = ("old", "young", "tall", "happy", "quiet", "clever")
OF_THINGS = ("red", "white", "small", "heavy", "broken", "new")
COUNTS = ("a", "two", "three", "many")
ADVERBIALS = ("near the river", "in the garden", "at the market", "on the bridge", "in the morning", "at night",
              "every day", "behind the mill")  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """What is said, in no language: people do something to things."""

    people: str  # singular
    is_plural: bool
    of_people: str
    verb: str
    is_past: bool
    count: str
    of_things: str
    things: str  # singular
    adverbial: str


@cache
def lexicon(language: str) -> dict[str, str]:
    """Words of the language by their English ones; no two are the same."""
    rng = random.Random(f"lexicon/{language}")
    onsets, vowels = ("bdklmnrsvz", "aeio") if language == VELTAN else ("cfghjptwy", "aouy")
    english = [*PEOPLE, *THINGS, *VERBS, *OF_PEOPLE, *OF_THINGS, *COUNTS, *ADVERBIALS]
    words: dict[str, None] = {}  # in order, unlike a set
    while len(words) < len(english):
        words["".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(rng.randint(2, 3)))] = None
    return dict(zip(english, words, strict=True))


def english(sentence: Sentence) -> str:
    """The sentence in English."""
    present, past = VERBS[sentence.verb]
    people = PEOPLE[sentence.people] if sentence.is_plural else sentence.people
    verb = past if sentence.is_past else sentence.verb if sentence.is_plural else present
    things = sentence.things if sentence.count == "a" else THINGS[sentence.things]
    said = f"The {sentence.of_people} {people} {verb} {sentence.count} {sentence.of_things} {things}"
    return f"{said} {sentence.adverbial}."


def translate(sentence: Sentence, language: str) -> str:
    """The sentence in one of the invented languages."""
    return _veltan(sentence) if language == VELTAN else _korish(sentence)


def _veltan(sentence: Sentence) -> str:
    words = lexicon(VELTAN)
    people = words[sentence.people] + ("m" if sentence.is_plural else "")
    things = words[sentence.things] + ("et" if sentence.count == "a" else "met")
    verb = words[sentence.verb] + ("sh" if sentence.is_past else "")
    subject = f"{people} {words[sentence.of_people]}"
    object = f"{words[sentence.count]} {things} {words[sentence.of_things]}"
    return f"{words[sentence.adverbial]} ne {subject} {object} {verb}"


def _korish(sentence: Sentence) -> str:
    words = lexicon(KORISH)
    verb = words[sentence.verb] + ("n" if sentence.is_past else "")
    subject = f"{'lu' if sentence.is_plural else 'li'} {words[sentence.of_people]} {words[sentence.people]}"
    object = f"{words[sentence.count]} {words[sentence.of_things]} {words[sentence.things]}"
    return f"{verb} {subject} {object} {words[sentence.adverbial]}"
