"""Reference workers: the policy as it started, frozen."""

import torch

from learner.policy import Policy
from learner.rewards import kl_estimate
from learner.types import PolicyState, RefLogprobs, Rollouts
from workers.settings import ReferenceSettings


class ReferenceWorker:
    """Computes the log-probabilities that the KL penalty is measured against."""

    def __init__(self, settings: ReferenceSettings) -> None:
        self.full = settings.full_logprobs
        self.policy = Policy(settings.policy, settings.seed, torch.device(settings.device), settings.temperature)

    @torch.no_grad()
    def logprobs(self, rollouts: Rollouts, state: PolicyState) -> RefLogprobs:
        """Log-probabilities [B, T] of the completions under `state`, version 0 of the run."""
        self.policy.load(state)
        unit = rollouts.unit
        encoded = self.policy.encode(unit.prompt_ids, unit.prompt_mask, unit.decoder_prefix)
        forced = self.policy.teacher_forced(encoded, rollouts, self.full)
        return RefLogprobs(unit.key, forced.logprobs, forced.full)

    def divergence(self, rollouts: Rollouts, state: PolicyState) -> dict[str, list[float]]:
        """KL per completion from the sampling policy to `state`, in nats, by k1 and by k3."""
        logprobs = self.logprobs(rollouts, state).logprobs
        return {
            f"kl_{name}": kl_estimate(name, rollouts.logprobs, logprobs)
            .masked_fill(~rollouts.completion_mask, 0)
            .sum(dim=1)
            .tolist()
            for name in ("k1", "k3")
        }
