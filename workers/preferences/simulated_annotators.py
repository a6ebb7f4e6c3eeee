"""Simulated annotators of known preference and noise, for tests and examples. Nothing that they say is about people.

An annotator likes the first completion by d = u(first) - u(second), plus a bias for what is shown first. The
answer is the sign of d plus logistic noise, and a tie where that lies within a band: Bradley and Terry's model with the
ties of Rao and Kupper (1967).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

from learner.seeds import seed_from
from workers.preferences.judgements import SIMULATED, Judgement, Outcome, Role

Utility = Callable[[str, str, str], float]
"""Of (prompt, completion, reference): how much somebody likes the completion."""


@dataclass(frozen=True)
class SimulatedQuestion:
    """A pair of completions to be compared."""

    pair: str
    prompt: str
    first: str
    second: str
    first_policy: str
    second_policy: str
    reference: str = ""
    role: Role = "training"
    swapped: bool = False
    expected: Outcome | None = None


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Somebody who answers at random around a utility, the same whenever and in whatever order they are asked."""

    name: str
    utility: Utility
    temperature: float = 1.0  # scale of the noise in units of utility; 0: none, an oracle
    tie_band: float = 0.0  # in units of utility: closer ones are a tie
    position_bias: float = 0.0  # added to the utility of what is shown in the first place
    seed: int = 0

    def answer(self, question: SimulatedQuestion, repeat: int = 0) -> Judgement:
        """The judgement, determined by seed, name, pair and repeat alone."""
        drawn = (seed_from(self.seed, "simulated annotator", self.name, question.pair, repeat) + 0.5) / 2**63
        chances = self.chances(question)
        ends = (chances["first"], chances["first"] + chances["tie"])
        outcome: Outcome = "first" if drawn < ends[0] else "tie" if drawn < ends[1] else "second"
        known = {name: value for name, value in vars(question).items() if name != "reference"}
        return Judgement(**known, annotator=SIMULATED + self.name, outcome=outcome, repeat=repeat)

    def chances(self, question: SimulatedQuestion) -> dict[Outcome, float]:
        """The probability of each answer."""
        lead = self.lead(question) + self.position_bias * (-1 if question.swapped else 1)
        first, second = (self._above(side * lead - self.tie_band) for side in (1, -1))
        return {"first": first, "tie": 1 - first - second, "second": second}

    def lead(self, question: SimulatedQuestion) -> float:
        """How much more the first completion is liked: what an oracle, without noise or bias, goes by."""
        texts = (question.first, question.second)
        first, second = (self.utility(question.prompt, text, question.reference) for text in texts)
        return first - second

    def _above(self, margin: float) -> float:
        """The probability that the margin is positive after noise."""
        if not self.temperature:
            return float(margin > 0)
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, margin / self.temperature))))


@dataclass(frozen=True)
class Ceiling:
    """Expected agreement on the questions that are decided: no judge of these texts can be expected to exceed it."""

    oracle: float  # of the noiseless oracle with a fresh annotator
    annotator: float  # of one annotator with a fresh one


def ceiling(annotators: Sequence[SimulatedAnnotator], questions: Sequence[SimulatedQuestion]) -> Ceiling:
    """The ceiling for annotators of one utility, exactly: from their probabilities, not from answers."""
    right = decided = equal = both = 0.0
    for question in questions:
        lead = annotators[0].lead(question)
        chances = [annotator.chances(question) for annotator in annotators]
        for own in chances:
            better, other = (own["first"], own["second"]) if lead > 0 else (own["second"], own["first"])
            decided += better + other
            right += better if lead else (better + other) / 2
        for own, fresh in permutations(chances, 2) if len(chances) > 1 else [(chances[0], chances[0])]:
            equal += own["first"] * fresh["first"] + own["second"] * fresh["second"]
            both += (own["first"] + own["second"]) * (fresh["first"] + fresh["second"])
    return Ceiling(right / decided, equal / both)
