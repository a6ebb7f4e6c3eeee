"""What a set of judgements says: which policy is preferred, and how far the answers can be relied on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from workers.preferences.annotators import Annotator, alpha, annotators, first_position, self_agreement
from workers.preferences.estimates import Estimate
from workers.preferences.judgements import SIMULATED, Judgement, Role
from workers.preferences.strengths import strengths
from workers.preferences.win_rates import Comparison, comparisons


@dataclass(frozen=True)
class Statistics:
    """The statistics of a set of judgements; None where there is nothing to tell it from."""

    answers: int  # repeats and qualification included, skips not
    skipped: int
    questions: int  # that somebody answered, without qualification
    compared: Role  # the questions that policies are compared on: evaluation, or training if there is no other
    comparisons: Sequence[Comparison]
    strengths: Mapping[str, Estimate]  # Bradley-Terry: the probability of winning against the first policy
    alpha: Estimate | None  # Krippendorff's, nominal
    leave_one_out: float | None  # mean of the annotators': the ceiling of what a judge of these texts can agree
    self_agreement: Estimate | None
    first_position: Estimate | None
    seconds: float | None  # median of an answer
    simulated: bool  # none of the annotators is a person
    annotators: Sequence[Annotator]


def judge(judgements: Sequence[Judgement], seed: int = 0) -> Statistics:
    """The statistics. Policies are compared on first answers to evaluation questions, which were drawn at random.

    Training questions are not: a campaign prefers those that the reward model is unsure of. They are used only if there
    is nothing else. `seed` is that of the bootstrap samples.
    """
    answered = [judgement for judgement in judgements if judgement.outcome != "skip"]
    first = [judgement for judgement in answered if not judgement.repeat]
    role: Role = "evaluation" if any(judgement.role == "evaluation" for judgement in first) else "training"
    basis = [judgement for judgement in first if judgement.role == role]
    people = annotators(judgements)
    agreements = [person.leave_one_out.value for person in people if person.leave_one_out]
    times = [judgement.seconds for judgement in judgements if judgement.seconds is not None]
    return Statistics(
        answers=len(answered),
        skipped=len(judgements) - len(answered),
        questions=len({judgement.pair for judgement in answered if judgement.role != "qualification"}),
        compared=role,
        comparisons=comparisons(basis, seed),
        strengths=strengths(basis, seed) if basis else {},
        alpha=alpha(judgements, seed),
        leave_one_out=sum(agreements) / len(agreements) if agreements else None,
        self_agreement=self_agreement(answered),
        first_position=first_position(answered),
        seconds=median(times) if times else None,
        simulated=bool(people) and all(person.name.startswith(SIMULATED) for person in people),
        annotators=people,
    )
