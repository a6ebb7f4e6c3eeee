"""How far annotators agree: with each other, with themselves, and with known answers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import evalica
import pandas as pd

from workers.preferences.estimates import CONFIDENCE, RESAMPLES, Estimate, share
from workers.preferences.judgements import Judgement, Outcome

CODES = {"first": 0, "tie": 1, "second": 2}


@dataclass(frozen=True)
class Annotator:
    """What is known of one annotator; None where there is nothing to tell it from."""

    name: str
    answers: int
    skipped: int
    leave_one_out: Estimate | None  # share of answers that equal the majority of the others' answers to the question
    self_agreement: Estimate | None  # share of repeats that were answered as the first time
    qualified: Estimate | None  # share of questions of qualification that were answered right
    first_position: Estimate | None  # share of decided answers for what was shown in the first place
    seconds: float | None  # median


def annotators(judgements: Sequence[Judgement]) -> list[Annotator]:
    """Each annotator, by name."""
    votes = _votes(judgements)
    names = sorted({judgement.annotator for judgement in judgements})
    own = {name: [judgement for judgement in judgements if judgement.annotator == name] for name in names}
    return [_annotator(name, own[name], votes) for name in names]


def alpha(judgements: Sequence[Judgement], seed: int) -> Estimate | None:
    """Krippendorff's alpha of first, tie and second as names (nominal), with his bootstrap interval, by `evalica`.

    1: full agreement, 0: as by chance. None if fewer than two people answered the same question, or if all answers are
    the same, for then there is no chance to compare with.
    """
    votes = {pair: given for pair, given in _votes(judgements).items() if len(given) > 1}
    if len({said for given in votes.values() for said in given.values()}) < 2:
        return None
    frame = pd.DataFrame({pair: {who: CODES[said] for who, said in given.items()} for pair, given in votes.items()})
    found = evalica.alpha_bootstrap(
        frame, "nominal", n_resamples=RESAMPLES, confidence_level=CONFIDENCE, random_state=seed
    )
    return Estimate(found.alpha, found.low, found.high, len(votes))


def first_position(judgements: Sequence[Judgement]) -> Estimate | None:
    """The share of decided answers for what was shown in the first place: one half if the place does not matter.

    None if that was always the same policy: then the place cannot be told from who stood there.
    """
    decided = [j for j in judgements if j.outcome in ("first", "second") and j.role != "qualification"]
    if len({j.second_policy if j.swapped else j.first_policy for j in decided}) < 2:
        return None
    return share(sum((j.outcome == "first") != j.swapped for j in decided), len(decided))


def self_agreement(judgements: Sequence[Judgement]) -> Estimate | None:
    """The share of repeats that were answered as the first time; skips do not count."""
    before = {(j.annotator, j.pair): j.outcome for j in judgements if not j.repeat and j.outcome != "skip"}
    repeats = [j for j in judgements if j.repeat and j.outcome != "skip" and (j.annotator, j.pair) in before]
    return share(sum(j.outcome == before[j.annotator, j.pair] for j in repeats), len(repeats))


def majority(said: Sequence[Outcome]) -> Outcome | None:
    """The most frequent answer; None if there is none, or if two are equally frequent."""
    ranked = Counter(said).most_common(2)
    return None if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]) else ranked[0][0]


def _votes(judgements: Sequence[Judgement]) -> dict[str, dict[str, Outcome]]:
    """First answers to real questions: pair -> annotator -> outcome."""
    votes: dict[str, dict[str, Outcome]] = defaultdict(dict)
    for judgement in judgements:
        if judgement.role != "qualification" and not judgement.repeat and judgement.outcome != "skip":
            votes[judgement.pair][judgement.annotator] = judgement.outcome
    return votes


def _annotator(name: str, own: Sequence[Judgement], votes: dict[str, dict[str, Outcome]]) -> Annotator:
    compared = [
        (given[name], other)
        for given in votes.values()
        if name in given and (other := majority([said for who, said in given.items() if who != name]))
    ]
    known = [j for j in own if j.role == "qualification" and j.expected and not j.repeat and j.outcome != "skip"]
    times = [judgement.seconds for judgement in own if judgement.seconds is not None]
    return Annotator(
        name=name,
        answers=sum(judgement.outcome != "skip" for judgement in own),
        skipped=sum(judgement.outcome == "skip" for judgement in own),
        leave_one_out=share(sum(mine == other for mine, other in compared), len(compared)),
        self_agreement=self_agreement(own),
        qualified=share(sum(judgement.outcome == judgement.expected for judgement in known), len(known)),
        first_position=first_position(own),
        seconds=median(times) if times else None,
    )
