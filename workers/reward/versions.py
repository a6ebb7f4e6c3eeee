"""The reward by version: it may change at a step's start, so the version travels with each call that scores."""

from dataclasses import dataclass, field

from configs.rewards import RewardConfig


@dataclass(frozen=True)
class RewardVersion:
    """The reward of the steps from `since` on, until another version's."""

    number: int  # 0: as the run started
    since: int
    reward: RewardConfig


@dataclass(frozen=True)
class Trial:
    """A reward that has been tried and can be used."""

    reward: RewardConfig  # with the changed part brought to the scale of the part before
    anchors: dict[str, float] = field(default_factory=dict)  # how the anchor texts score; empty if not needed


@dataclass(frozen=True)
class Refusal:
    """Why a reward cannot be used."""

    problems: tuple[str, ...]
