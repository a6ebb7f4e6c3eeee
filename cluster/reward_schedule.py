"""Which version of the reward scores which step, and how a requested change becomes a version.

A step's version is fixed before its first unit is sampled, and travels with every call that scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.plan import Plan
from cluster.pools.interface import Handle, Pools
from configs.errors import RunError, UsageError
from configs.reward_change import RewardChange
from configs.rewards import RewardConfig
from workers.reward.versions import Refusal, RewardVersion, Trial

OVERLAP = 5
"""Steps after a change in which the version before it scores the same completions, to be logged."""


@dataclass(frozen=True)
class RewardRequest:
    """Someone's request to change the reward."""

    id: str
    change: RewardChange
    at_step: int | None = None  # None: at the next step that begins


class RewardSchedule:
    """The versions so far. Nobody requests others here: a run's own schedule reads requests from its folder."""

    def __init__(self, reward: RewardConfig) -> None:
        self.versions = [RewardVersion(0, 0, reward)]

    def at(self, step: int) -> RewardVersion:
        """The version that scores a step which has begun."""
        return [version for version in self.versions if version.since <= step][-1]

    def before(self, step: int) -> RewardVersion | None:
        """The version before the step's if that began less than `OVERLAP` steps earlier."""
        since = self.at(step).since
        earlier = [version for version in self.versions if version.since < since]
        return earlier[-1] if earlier and step - since < OVERLAP else None

    def due(self, step: int) -> Sequence[RewardRequest]:
        """Requests to change the reward from this step on, oldest first."""
        return ()

    def accept(self, request: RewardRequest, step: int, trial: Trial) -> None:
        """Record the next version, which scores from `step` on, before any score depends on it."""
        self.versions.append(RewardVersion(len(self.versions), step, trial.reward))

    def refuse(self, request: RewardRequest, problems: Sequence[str]) -> None:
        """Tell who asked why the reward stays as it is."""


def answer_requests(step: int, rewards: RewardSchedule, plan: Plan, pools: Pools, reference: Handle) -> None:
    """Accept or refuse what is due before the step is sampled; a refused change leaves the run as it is."""
    for request in rewards.due(step):
        try:
            answer = _try_out(request.change, rewards.versions[-1].reward, plan, pools, reference)
        except RunError as error:  # it has cost workers: the run ends, and must not meet it again when it is resumed
            rewards.refuse(request, [str(error)])
            raise
        if isinstance(answer, Trial):
            rewards.accept(request, step, answer)
        else:
            rewards.refuse(request, answer.problems)


def _try_out(change: RewardChange, now: RewardConfig, plan: Plan, pools: Pools, reference: Handle) -> Trial | Refusal:
    try:
        proposed = change.applied_to(now)
    except UsageError as error:
        return Refusal(tuple(error.problems))
    anchors, about = [], f"a change of reward.parts.{change.part}"
    # A gate compares raw scores and adds nothing: it has no scale to keep.
    if change.needs_anchors and proposed.parts[change.part].gate is None:
        units = plan.anchor_units()
        anchors = [pools.rollout.submit("summarize", unit, reference, about=about) for unit in units]
    (answer,) = pools.get([pools.reward.submit("try_out", now, proposed, change.part, *anchors, about=about)])
    return answer
