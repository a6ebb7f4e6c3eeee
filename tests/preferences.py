"""Simulated annotators, who prefer the summary without an insult, and err as often as they are told to."""

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from learner.preferences.pairs import Preference
from tests.conftest import ROOT

INSULTS = yaml.safe_load((ROOT / "quickstart/vocabulary.yaml").read_text())["insults"]["nouns"]


def simulated(count: int, seed: int = 0, flips: float = 0.0, annotators: int = 1, ties: float = 0.0):
    """Answers to `count` questions by each annotator: a polite and a rude summary of one topic of the quickstart."""
    with (ROOT / "quickstart/dialogues/train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rude = [row for row in rows if any(word in row["summary"] for word in INSULTS)]
    polite = [row for row in rows if row not in rude]
    chance, found = random.Random(seed), []
    for number, row in enumerate(chance.sample(polite, count)):
        other = chance.choice([r for r in rude if r["topic"] == row["topic"]] or rude)
        for annotator in range(annotators):
            sides = [row["summary"], other["summary"]]
            if chance.random() < flips:
                sides.reverse()
            tie = chance.random() < ties
            found.append(Preference(row["dialogue"], *sides, tie, None, f"simulated {annotator}", f"q{number}"))
    return found


def write(pairs: Sequence[Preference], file: Path) -> Path:
    """The pairs as jsonl."""
    file.write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in pairs))
    return file
