"""The preferences that a policy or a reward model may learn from, of all answers to a campaign."""

from collections import Counter
from collections.abc import Iterable, Mapping

from learner.preferences.pairs import Preference
from workers.preferences.files import preference_of
from workers.preferences.judgements import Judgement

TAKEN = "taken"


def judgements_to_preferences(judgements: Iterable[Judgement]) -> list[Preference]:
    """The preferences of all answers whose `fate` is to be taken, in order; ties are kept as ties."""
    return [_preference(judgement) for judgement in judgements if fate(judgement) == TAKEN]


def fates(judgements: Iterable[Judgement]) -> Mapping[str, int]:
    """How many answers are taken, and how many are left out for each reason."""
    return Counter(fate(judgement) for judgement in judgements)


def fate(judgement: Judgement) -> str:
    """`TAKEN`, or why nothing may be learnt from this answer.

    Evaluation pairs never are learnt from: what is learnt from them could no longer be judged by them. A repeat is the
    same person's opinion a second time; known answers of qualification are nobody's opinion.
    """
    if judgement.role != "training":
        return judgement.role
    if judgement.outcome == "skip":
        return "skipped"
    if judgement.repeat:
        return "repeat"
    try:
        _preference(judgement)
    except ValueError:  # no file of pairs may hold it
        return "empty or equal texts"
    return TAKEN


def _preference(judgement: Judgement) -> Preference:
    first, second = judgement.first, judgement.second
    chosen, rejected = (second, first) if judgement.outcome == "second" else (first, second)
    return preference_of(
        {
            "prompt": judgement.prompt,
            "chosen": chosen,
            "rejected": rejected,
            "tie": judgement.outcome == "tie",
            "annotator": judgement.annotator,
            "pair": judgement.pair,
        }
    )
