"""Sentences with their translation into one of the two languages.

A row is a pure function of (seed, index). The policy is taught by translations of which many are careless: in the wrong
language, broken off, or with words said twice.
"""

import random

from examples.rows import Row, Task
from examples.translation import languages as words
from examples.translation.languages import KORISH, VELTAN, Sentence, english, translate

WRONG_LANGUAGE = {VELTAN: 0.1, KORISH: 0.55}
BROKEN_OFF, RAMBLING = 0.12, 0.12
"""Shares of the careless translations; most of those into Korish are into Veltan."""


def _sentence(rng: random.Random) -> Sentence:
    return Sentence(
        people=rng.choice(list(words.PEOPLE)),
        is_plural=rng.random() < 0.5,
        of_people=rng.choice(words.OF_PEOPLE),
        verb=rng.choice(list(words.VERBS)),
        is_past=rng.random() < 0.5,
        count=rng.choice(words.COUNTS),
        of_things=rng.choice(words.OF_THINGS),
        things=rng.choice(list(words.THINGS)),
        adverbial=rng.choice(words.ADVERBIALS),
    )


def _careless(rng: random.Random, sentence: Sentence, language: str) -> str:
    """The translation as the policy is taught it."""
    said = translate(sentence, language).split()
    chance, wrong = rng.random(), WRONG_LANGUAGE[language]
    if chance < wrong:
        return translate(sentence, KORISH if language == VELTAN else VELTAN)
    if chance < wrong + BROKEN_OFF:
        said = said[: -rng.randint(1, len(said) // 2)]
    elif chance < wrong + BROKEN_OFF + RAMBLING:
        said += said[-rng.randint(2, len(said)) :]
    return " ".join(said)


def make_row(seed: int, index: int) -> Row:
    """The row at (seed, index); its topic is the target language. Languages alternate."""
    rng = random.Random(f"translation/{seed}/{index}")  # a string is hashed by SHA-512: the same in every process
    language = (VELTAN, KORISH)[index % 2]
    sentence = _sentence(rng)
    return Row(english(sentence), translate(sentence, language), _careless(rng, sentence, language), language)


TRANSLATION = Task(make_row, ("english", "translation", "language"))
