"""One person's answer to one question of a campaign."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["first", "tie", "second", "skip"]
Role = Literal["training", "evaluation", "qualification"]
SIMULATED = "simulated-"
"""Names of annotators that are no people begin with this, and nobody else's do."""


@dataclass(frozen=True)
class Judgement:
    """Which of two completions an annotator preferred, and what was known of the question."""

    pair: str  # id of the question; a planned repeat has the same
    prompt: str  # as the policy reads it
    first: str  # the two completions, in the order of the campaign, not of the screen
    second: str
    first_policy: str  # who wrote them, such as `base`, `reference` or a run's id
    second_policy: str
    annotator: str
    outcome: Outcome
    role: Role = "training"
    swapped: bool = False  # True where `second` was shown in the first place
    repeat: int = 0  # 0: asked for the first time
    expected: Outcome | None = None  # the known answer of a question of qualification
    seconds: float | None = None  # from being shown to being answered
    criteria: Mapping[str, Outcome] = field(default_factory=dict)  # answers by criterion, such as readability
    note: str = ""  # why it was skipped, or what the annotator wrote
