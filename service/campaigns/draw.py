"""Which dialogues and policies make the pairs of a campaign."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from configs.campaigns import CampaignConfig
from configs.errors import UsageError
from learner.seeds import seed_from
from workers.preferences.judgements import Role

CANDIDATES = 4
"""Pairs among which the reward model is asked for each one that it is least sure of."""


@dataclass(frozen=True)
class Candidate:
    """A pair that could be asked: a dialogue and who summarizes it."""

    row: int  # of the data
    first: str
    second: str
    seeds: tuple[int, int]  # of the two summaries


@dataclass(frozen=True)
class Share:
    """How many pairs of one kind a campaign has."""

    role: Role
    pairs: int
    among: int  # candidates of which the reward model picks them; as many as `pairs`: at random

    @property
    def unsure(self) -> bool:
        """True where the reward model picks them."""
        return self.among > self.pairs


def shares(spec: CampaignConfig) -> list[Share]:
    """Evaluation pairs and half of the training pairs at random, the other half where the reward is least sure."""
    evaluation = round(spec.evaluation * spec.pairs)
    unsure = (spec.pairs - evaluation) // 2
    found = [
        Share("evaluation", evaluation, evaluation),
        Share("training", spec.pairs - evaluation - unsure, spec.pairs - evaluation - unsure),
        Share("training", unsure, CANDIDATES * unsure),
    ]
    return [share for share in found if share.pairs]


def candidates(spec: CampaignConfig, rows: int) -> dict[Role, Iterator[Candidate]]:
    """Candidates for evaluation and for training, of different dialogues; every dialogue once before any twice.

    Raises `UsageError` if there are fewer than the campaign needs.
    """
    order = sorted(range(rows), key=lambda row: seed_from("dialogue", spec.seed, row))
    evaluation = round(spec.evaluation * spec.pairs)
    cut = -(-rows * evaluation // spec.pairs)  # rounded up
    if evaluation < spec.pairs:
        cut = min(cut, rows - 1)
    parts: dict[Role, Sequence[int]] = {"evaluation": order[:cut], "training": order[cut:]}
    needed = {"evaluation": evaluation, "training": spec.pairs - evaluation}
    couples = _couples(spec)
    for role, part in parts.items():
        if len(part) * len(couples) < needed[role]:
            raise UsageError(
                f"pairs: {spec.pairs} need more dialogues: split {spec.split} has {rows}, of which {len(part)} are for "
                f"{role}, and these policies make {len(couples)} different pairs of each; ask for fewer pairs"
            )
    return {role: _each(spec, part, couples) for role, part in parts.items()}


def _couples(spec: CampaignConfig) -> list[tuple[str, str]]:
    several = list(combinations(spec.policies, 2))
    return several or [(spec.policies[0], spec.policies[0])]


def _each(spec: CampaignConfig, rows: Sequence[int], couples: Sequence[tuple[str, str]]) -> Iterator[Candidate]:
    for turn in range(len(couples)):
        for place, row in enumerate(rows):
            couple = couples[(place + turn) % len(couples)]
            if seed_from("couple", spec.seed, row, turn) % 2:
                couple = couple[::-1]
            first, second = (seed_from("summary", spec.seed, row, turn, slot) for slot in range(2))
            yield Candidate(row, *couple, (first, second))
