"""Rollout workers of the benchmark."""

from learner.types import PolicyState
from workers.rollout.worker import RolloutWorker
from workers.settings import RolloutSettings

NO_TOKEN = -1


class TimedRolloutWorker(RolloutWorker):
    """A rollout worker that can also load weights without sampling from them."""

    def take(self, state: PolicyState) -> int:
        """Load a policy's weights; returns its version."""
        self.policy.load(state, cached=False)
        return state.version


class ForcedLengthRolloutWorker(TimedRolloutWorker):
    """Samples past end-of-sequence tokens, up to a length drawn from `min_cut` to `max_new_tokens`."""

    def __init__(self, settings: RolloutSettings) -> None:
        super().__init__(settings)
        self.ends = (NO_TOKEN,)
