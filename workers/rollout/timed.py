"""Rollouts of lengths that are drawn, not the policy's: for timing."""

from configs.schema import Config
from learner.types import PolicyState
from workers.rollout.worker import RolloutWorker

NO_TOKEN = -1


class ForcedRolloutWorker(RolloutWorker):
    """Goes on after the end of a text, until the length that was drawn."""

    def __init__(self, config: Config) -> None:
        bench, rollout = config.bench, config.rollout
        if bench.max_new:
            rollout = rollout.model_copy(update={"min_cut": bench.min_new, "max_new_tokens": bench.max_new})
        super().__init__(config.model_copy(update={"rollout": rollout}))
        if bench.max_new:
            self.ends = (NO_TOKEN,)

    def take(self, state: PolicyState) -> int:
        """Become the policy of a state; returns its version."""
        self.policy.load(state, cached=False)
        return state.version
