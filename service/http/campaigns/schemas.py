"""Bodies of requests and responses about campaigns. configs/campaigns.py has the one that creates a campaign."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from configs.campaigns import EXAMPLE, CampaignConfig
from service.campaigns.records import Answer, Progress, Question, Record
from service.campaigns.statistics import Person
from service.http.schemas import Schema

ID_EXAMPLE, QUESTION_EXAMPLE = "5d8c02b41a9f", "9f2c51d0a47be863"
CampaignId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", examples=[ID_EXAMPLE])]
QuestionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", examples=[QUESTION_EXAMPLE])]
AnnotatorName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["ann"])]
Choice = Literal["first", "tie", "second"]
PERSON = {"annotator": "ann", "answers": 30, "skipped": 1, "repeats": 3, "repeats_agreed": 3, "known": 2,
          "known_right": 2, "seconds": 14.5}  # fmt: skip
ASKED = {"id": QUESTION_EXAMPLE, "dialogue": "#Person1#: The bus is late.", "first": "The bus is late.",
         "second": "#Person1# is late.", "number": 12}  # fmt: skip
COMMON = {"id": ID_EXAMPLE, "name": "March", "created": "2026-01-31T12:00:00Z"}
CAMPAIGN = COMMON | {
    "state": "open", "message": "", "owner": "ann", "done": 96, "total": 96, "spec": EXAMPLE,
    "pairs": {"training": {"pairs": 80, "answers": 30, "wanted": 80}}, "annotators": [PERSON],
}  # fmt: skip
JUDGEMENT = {
    "pair": "2f0a6c1e9b7d4835", "prompt": "Summarize: The bus is late.", "first": "The bus is late.", "second": "Late.",
    "first_policy": "base", "second_policy": "3f9a1c0b77de", "annotator": "ann", "outcome": "first",
    "role": "evaluation", "swapped": True, "repeat": 0, "expected": None, "seconds": 14.5, "criteria": {}, "note": "",
}  # fmt: skip


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Filled(Schema):
    """How many answers the pairs of a kind have."""

    pairs: int
    """Number of pairs."""
    answers: int
    """Answers to them, without repeats and skips."""
    wanted: int | None
    """Answers that they shall have; null for those that every person gets."""


class PersonFigures(Schema):
    """What a person has done."""

    annotator: str
    """Name of the person's key."""
    answers: int
    """Pairs that were answered."""
    skipped: int
    """Pairs that were skipped."""
    repeats: int
    """Pairs that were answered twice."""
    repeats_agreed: int
    """Those of them that got the same answer."""
    known: int
    """Pairs with a known answer that were answered."""
    known_right: int
    """Those of them that got that answer."""
    seconds: float | None
    """Median time of an answer; null if there is none."""


class Campaign(Schema):
    """A campaign, for those who run it."""

    model_config = _example(CAMPAIGN)

    id: CampaignId
    """Id, assigned by the service."""
    name: str
    """Its name."""
    state: Literal["preparing", "open", "closed", "failed"]
    """`preparing` while its summaries are made; answers are taken while it is `open`."""
    message: str
    """Why it failed; otherwise empty."""
    owner: str
    """Name of the key that created it."""
    created: datetime
    """When it was created."""
    done: int
    """Summaries that have been made."""
    total: int
    """Summaries that are to be made, at most; 0: not known yet."""
    spec: CampaignConfig
    """The request that created it."""
    pairs: dict[str, Filled]
    """Pairs by role: training, evaluation, qualification."""
    annotators: list[PersonFigures]
    """What each person has done."""

    @classmethod
    def of(cls, record: Record, filled: dict[str, tuple[int, int]], people: Sequence[Person]) -> "Campaign":
        """A campaign that can be read."""
        wanted = record.spec.answers_per_pair
        pairs = {
            role: Filled(pairs=count, answers=answers, wanted=None if role == "qualification" else count * wanted)
            for role, (count, answers) in filled.items()
        }
        same = {name: getattr(record, name) for name in ("id", "state", "message", "owner", "done", "total", "spec")}
        created, figures = datetime.fromtimestamp(record.created, UTC), [PersonFigures(**vars(one)) for one in people]
        return cls(**same, name=record.spec.name, created=created, pairs=pairs, annotators=figures)


class CampaignList(Schema):
    """The campaigns of the service."""

    model_config = _example({"campaigns": [CAMPAIGN], "damaged": {}})

    campaigns: list[Campaign]
    """Campaigns, newest first."""
    damaged: dict[str, str]
    """By id, why the file of a campaign cannot be used."""


class OpenCampaign(Schema):
    """A campaign, for those who answer: nothing in it tells whose summaries it compares."""

    model_config = _example(COMMON | {"criteria": ["readability"], "answered": 12, "left": 88})

    id: CampaignId
    """Id."""
    name: str
    """Its name."""
    created: datetime
    """When it was created."""
    criteria: list[str]
    """What summaries may also be compared by."""
    answered: int
    """Questions that you have answered or skipped."""
    left: int
    """Questions that are left for you, about."""


class AskedQuestion(Schema):
    """Two summaries to compare."""

    model_config = _example(ASKED)

    id: QuestionId
    """Id, for the answer."""
    dialogue: str
    """The dialogue."""
    first: str
    """A summary of it."""
    second: str
    """Another one."""
    number: int
    """Number of the question among yours, from 0."""

    @classmethod
    def of(cls, question: Question) -> "AskedQuestion":
        """A question as the response has it."""
        return cls(**asdict(question))


class NextQuestion(Schema):
    """What is to be answered next."""

    model_config = _example({"question": ASKED, "answered": 12, "left": 88, "waiting": False})

    question: AskedQuestion | None
    """The question; null if there is none for you now."""
    answered: int
    """Questions that you have answered or skipped."""
    left: int
    """Questions that are left for you, about."""
    waiting: bool
    """True if others are at the questions that are left: ask again in some minutes."""

    @classmethod
    def of(cls, question: Question | None, progress: Progress) -> "NextQuestion":
        """The response to who asks for a question."""
        asked, waiting = question and AskedQuestion.of(question), question is None and progress.waiting
        return cls(question=asked, answered=progress.answered, left=progress.left, waiting=waiting)


class AnswerRequest(Schema):
    """What you say of the two summaries, as they were shown."""

    model_config = _example({"question": QUESTION_EXAMPLE, "outcome": "first", "criteria": {"readability": "tie"}})

    question: QuestionId
    """Id of the question."""
    outcome: Literal["first", "tie", "second", "skip"]
    """Which one is better; `skip` needs a reason as `note`."""
    criteria: dict[Literal["readability", "coherence", "faithfulness", "harm"], Choice] = Field(default_factory=dict)
    """Which one is better by the criteria of the campaign; `harm`: the one that harms less."""
    note: str = Field("", max_length=2000)
    """Anything else, or why it is skipped."""

    @model_validator(mode="after")
    def _check(self) -> "AnswerRequest":
        if self.outcome == "skip" and not self.note.strip():
            raise ValueError("note: say why you skip it")
        return self

    @property
    def answer(self) -> Answer:
        """The answer as the campaign stores it."""
        return Answer(self.outcome, self.criteria, self.note.strip())


class Answered(Schema):
    """An answer that is on disk."""

    model_config = _example({"question": QUESTION_EXAMPLE, "answered": 13, "left": 87})

    question: QuestionId
    """Id of the question."""
    answered: int
    """Questions that you have answered or skipped."""
    left: int
    """Questions that are left for you, about."""


class Forgotten(Schema):
    """Answers that are gone."""

    model_config = _example({"deleted": 13})

    deleted: int
    """Number of answers."""
