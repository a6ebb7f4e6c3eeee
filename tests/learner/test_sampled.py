"""One distribution for sampling, ratio and KL, at any setting of sampling and through the learner itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cluster.plan import Plan
from cluster.preflight.data import plan_settings
from learner.learner import Learner
from tests.conftest import read_prompts, settings_of, small_config
from workers.reference import ReferenceWorker
from workers.reward.worker import RewardWorker
from workers.rollout.worker import RolloutWorker

SAMPLING = {
    "hot": {"temperature": 1.5},
    "cold": {"temperature": 0.5},
    "top_k": {"temperature": 1.3, "top_k": 5},
    "top_p": {"temperature": 1.5, "top_p": 0.8},
    "min_p": {"min_p": 0.1},
}
ALGORITHMS = {
    "ppo": {"type": "ppo"},
    "full KL": {"type": "ppo", "kl_estimator": "full", "kl_in": "loss", "entropy_coef": 0.01},
    "grpo": {"type": "grpo", "group_size": 4},
}
CASES = [("ppo", "hot"), ("grpo", "cold"), ("grpo", "top_k"), ("ppo", "top_p"), ("full KL", "min_p")]


class Run:
    """The workers of one config and the parts of a step."""

    def __init__(self, algorithm: str, sampling: str) -> None:
        chosen = {f"algorithm__{k}": v for k, v in ALGORITHMS[algorithm].items()} | {"algorithm__minibatch_size": 4}
        self.config = config = small_config(**chosen, **{f"rollout__{k}": v for k, v in SAMPLING[sampling].items()})
        prompts = read_prompts(config)
        self.plan = Plan(plan_settings(config), prompts, prompts)
        self.learner, self.rollout = (
            Learner(settings_of(config, "learner")),
            RolloutWorker(settings_of(config, "rollout")),
        )
        self.reward = RewardWorker(settings_of(config, "reward"))
        self.reference = ReferenceWorker(settings_of(config, "reference"))
        self.start = self.learner.initial_state()

    def parts(self, policy):
        """Rollouts, old pass, scores and reference log-probabilities of the units of step 0, in turn."""
        parts = []
        for unit in self.plan.units(0):
            rollouts, old = self.rollout.generate(unit, policy)
            parts += [rollouts, old, self.reward.score(rollouts), self.reference.logprobs(rollouts, self.start[0])]
        return parts


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def run(request):
    return Run(*request.param)


def test_ratio_is_one_and_kl_zero_at_any_setting(run):
    policy, state, metrics = run.learner.update(*run.start, *run.parts(run.start[0]))
    assert metrics["objective/kl"] == pytest.approx(0, abs=1e-6) and metrics["objective/kl_k3"] < 1e-9
    assert metrics["policy/first_ratio_gap"] < 1e-5
    assert metrics["rollout/logprob_gap"] < 1e-4, "recorded while decoding and teacher-forced: one distribution"
    truncated = run.config.rollout.top_k or run.config.rollout.top_p < 1 or run.config.rollout.min_p
    assert ("rollout/kept_tokens" in metrics) == bool(truncated)
    if truncated:
        assert 1 <= metrics["rollout/kept_tokens"] < run.learner.policy.network.config.vocab_size / 2
    # A policy that differs from the reference: the ratio is 1 again, the KL is not 0.
    moved = {
        n: t + 0.05 * torch.randn(t.shape, generator=torch.Generator().manual_seed(0))
        for n, t in policy.adapter.items()
    }
    policy = replace(policy, adapter=moved)
    after, _, metrics = run.learner.update(policy, state, *run.parts(policy))
    assert metrics["policy/first_ratio_gap"] < 1e-5 and metrics["rollout/logprob_gap"] < 1e-4
    assert metrics["objective/kl_k3"] > 1e-3
    assert all(map(math.isfinite, metrics.values())) and metrics["optimizer/rejected_steps"] == 0
    assert all(t.isfinite().all() for t in after.adapter.values())


def test_logprobs_are_those_of_the_distribution_by_its_definition(run):
    """Worked out anew from the plain policy's log-probabilities, which know neither temperature nor truncation."""
    rollouts, old = run.parts(run.start[0])[:2]
    run.learner.policy.load(run.start[0], cached=False)
    policy, unit = run.learner.policy, rollouts.unit
    policy.temperature = 1.0
    with torch.no_grad():
        plain = policy(unit.prompt_ids, unit.prompt_mask, rollouts.completion_ids).full
    policy.temperature = run.config.rollout.temperature
    p = (plain.double() / policy.temperature).exp()
    if rollouts.sampling_mask.shape[2]:
        bits = np.unpackbits(rollouts.sampling_mask.numpy(), axis=2, bitorder="little")
        p = p * torch.from_numpy(bits)[:, :, : p.shape[2]]
    expected = (p / p.sum(dim=2, keepdim=True)).gather(2, rollouts.completion_ids.unsqueeze(2)).squeeze(2).log().float()
    mask = rollouts.completion_mask
    torch.testing.assert_close(old.logprobs[mask], expected[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rollouts.logprobs[mask], expected[mask], atol=1e-4, rtol=1e-4)
