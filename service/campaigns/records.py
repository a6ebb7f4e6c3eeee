"""What a campaign consists of: its record, its pairs, a question as a person sees it, and the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from configs.campaigns import CampaignConfig
from workers.preferences.judgements import Outcome, Role

State = Literal["preparing", "open", "closed", "failed"]


class Refused(Exception):
    """The state of the campaign or of the question does not allow what was asked for."""


class TooManyCampaigns(Exception):
    """The maximum number of campaigns of this key has not been closed."""


@dataclass(frozen=True)
class Record:
    """A campaign."""

    id: str
    spec: CampaignConfig
    owner: str  # name of the key that created it
    created: float  # seconds since 1970
    state: State = "preparing"
    message: str = ""  # why it failed
    done: int = 0  # texts made while it is prepared
    total: int = 0


@dataclass(frozen=True)
class Pair:
    """Two completions of a prompt, and who wrote them."""

    prompt: str  # as the policy reads it
    dialogue: str  # as people read it
    first: str
    second: str
    first_policy: str
    second_policy: str
    role: Role
    expected: Outcome | None = None


@dataclass(frozen=True)
class Question:
    """A pair as a person sees it: nothing tells who wrote what."""

    id: str
    dialogue: str
    first: str  # on the left
    second: str
    number: int  # of the person's questions, from 0


@dataclass(frozen=True)
class Answer:
    """What a person says of the two completions, as they are on the screen."""

    outcome: Outcome
    criteria: Mapping[str, Outcome] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a person is."""

    answered: int
    left: int  # about: repeats are added as they fall due, and others answer too
    last: str | None  # question that was answered last, which can be taken back
    waiting: bool  # True where others are at all pairs that are left


SWAP: Mapping[str, Outcome] = {"first": "second", "second": "first"}


def turned(outcome: Outcome, swapped: bool) -> Outcome:
    """The outcome in the order of the campaign, of one in the order of the screen or the other way round."""
    return SWAP.get(outcome, outcome) if swapped else outcome
