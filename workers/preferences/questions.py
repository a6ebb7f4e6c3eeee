"""Questions that compare two policies, and what their answers say of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.preferences.judgements import Judgement, Outcome

BASELINES = ("base", "reference")


@dataclass(frozen=True)
class Questions:
    """The questions that compare two policies: for each the shares of wins, ties and losses among its answers."""

    policy: str
    against: str
    shares: np.ndarray  # [questions, 3]
    longer: np.ndarray  # [questions], in characters

    @property
    def scores(self) -> np.ndarray:
        """Wins and half of the ties [questions]."""
        return self.shares @ [1, 0.5, 0]


def policies_of(judgements: Sequence[Judgement]) -> list[str]:
    """All policies; `base` or `reference` first, the others in their order."""
    names = dict.fromkeys(name for j in judgements for name in (j.first_policy, j.second_policy))
    return sorted(names, key=lambda name: BASELINES.index(name) if name in BASELINES else len(BASELINES))


def questions(judgements: Sequence[Judgement], criterion: str | None = None) -> list[Questions]:
    """The questions of each two policies; with a criterion, those answered by it."""
    order = policies_of(judgements)
    rows: dict[tuple[str, str], dict[str, tuple[list[int], int]]] = {}
    for judgement in judgements:
        said = judgement.criteria.get(criterion, "skip") if criterion else judgement.outcome
        if said == "skip" or judgement.first_policy == judgement.second_policy:
            continue
        turned = order.index(judgement.first_policy) < order.index(judgement.second_policy)
        names, texts = (judgement.first_policy, judgement.second_policy), (judgement.first, judgement.second)
        policy, against = reversed(names) if turned else names
        longer = (len(texts[0]) - len(texts[1])) * (-1 if turned else 1)
        answers, _ = rows.setdefault((policy, against), {}).setdefault(judgement.pair, ([], longer))
        answers.append(_place(said, turned))
    return [_questions(*key, list(found.values())) for key, found in rows.items()]


def _place(said: Outcome, turned: bool) -> int:
    """0: the policy won, 1: a tie, 2: it lost."""
    return 1 if said == "tie" else 0 if (said == "second") == turned else 2


def _questions(policy: str, against: str, found: Sequence[tuple[list[int], int]]) -> Questions:
    shares = [np.bincount(answers, minlength=3) / len(answers) for answers, _ in found]
    return Questions(policy, against, np.array(shares), np.array([longer for _, longer in found], float))
