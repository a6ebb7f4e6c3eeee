"""Every algorithm through the learner: the same laws for all, and a defined outcome where a step cannot be taken."""

import math
from dataclasses import replace

import pytest
import torch

from cluster.plan import Plan, make_unit
from cluster.preflight.data import plan_settings
from learner.adapter import tensors_sha256
from learner.learner import Learner
from learner.losses import entropy
from learner.types import RefLogprobs
from learner.update import MAX_REJECTED
from tests.conftest import read_prompts, settings_of, small_config
from workers.data.prompts import Prompt
from workers.reference import ReferenceWorker
from workers.reward.worker import RewardWorker
from workers.rollout.worker import RolloutWorker

SETTINGS = {
    "ppo": {},
    "ppo, adaptive KL": {"kl__type": "adaptive", "kl__target": 1, "kl__horizon": 100},
    "ppo, full KL": {"kl_estimator": "full"},
    "ppo, full KL in the loss": {"kl_estimator": "full", "kl_in": "loss"},
    "ppo, scaled scores": {"scores__divide_by_std": True, "scores__clip": 1.0},
    "ppo, clip-higher and entropy": {"clip_range_high": 0.28, "entropy_coef": 0.01},
    "grouped_ppo": {},
    "grouped_ppo, by length": {"group_by": '{"type": "prompt_length", "bounds": [100, 115]}', "combine": "sum"},
    "grpo": {"group_size": 4},
    "grpo, Dr.": {"group_size": 4, "scale_by_std": False, "loss_average": "constant"},
    "rloo": {"group_size": 2},
    "reinforce_pp": {"kl_estimator": "k2"},
}


def config_of(case: str, **more: object):
    settings = {"type": case.split(",")[0], "minibatch_size": 4, "learning_rate": 1e-3, **SETTINGS[case], **more}
    return small_config(**{f"algorithm__{key}": value for key, value in settings.items()})


class Run:
    """The workers of one config and the parts of its first step."""

    def __init__(self, case: str) -> None:
        self.case, config = case, config_of(case)
        prompts = read_prompts(config)
        self.learner = Learner(settings_of(config, "learner"))
        self.state = self.learner.initial_state()
        reward, reference, rollout = (
            RewardWorker(settings_of(config, "reward")),
            ReferenceWorker(settings_of(config, "reference")),
            RolloutWorker(settings_of(config, "rollout")),
        )
        self.parts = []
        for unit in Plan(plan_settings(config), prompts, prompts).units(0):
            rollouts, old = rollout.generate(unit, self.state[0])
            self.parts += [rollouts, old, reward.score(rollouts), reference.logprobs(rollouts, self.state[0])]


@pytest.fixture(scope="module", params=SETTINGS)
def run(request):
    return Run(request.param)


def test_one_step_keeps_the_laws(run):
    policy, _, metrics = run.learner.update(*run.state, *run.parts)
    assert metrics["objective/kl"] == pytest.approx(0, abs=1e-6), "reference equals policy at start"
    assert metrics["policy/first_ratio_gap"] < 1e-6, "ratio is one before the first update"
    assert policy.version == 1 and metrics["optimizer/rejected_steps"] == 0
    assert tensors_sha256(policy.adapter) != tensors_sha256(run.state[0].adapter)
    assert all(t.isfinite().all() for t in policy.adapter.values())
    again = run.learner.update(*run.state, *run.parts)
    assert tensors_sha256(again[0].adapter) == tensors_sha256(policy.adapter), "an update is a function"


def test_loss_and_gradient_are_the_same_for_any_microbatch_split(run):
    whole = run.learner.update(*run.state, *run.parts)
    split = Learner(settings_of(config_of(run.case, microbatch_size=3), "learner")).update(*run.state, *run.parts)
    assert split[2]["loss/total"] == pytest.approx(whole[2]["loss/total"], rel=1e-4, abs=1e-6)
    assert split[2]["optimizer/grad_norm"] == pytest.approx(whole[2]["optimizer/grad_norm"], rel=1e-3)


def test_order_of_units_changes_the_gradient_by_rounding_only(run):
    config = config_of(run.case, minibatch_size=8, ppo_epochs=1)  # one minibatch: the order within it is left
    plain = Learner(settings_of(config, "learner")).update(*run.state, *run.parts)[2]
    turned = Learner(settings_of(config, "learner")).update(*run.state, *run.parts[4:], *run.parts[:4])[2]
    assert turned["optimizer/grad_norm"] == pytest.approx(plain["optimizer/grad_norm"], rel=1e-4)
    assert turned["loss/total"] == pytest.approx(plain["loss/total"], rel=1e-4, abs=1e-6)


def test_all_completions_and_rewards_equal_is_a_step_of_finite_numbers(run):
    parts = [replace(p, scores=torch.ones_like(p.scores)) if hasattr(p, "toxicity") else p for p in run.parts]
    policy, _, metrics = run.learner.update(*run.state, *parts)
    assert metrics["optimizer/rejected_steps"] == 0 and all(t.isfinite().all() for t in policy.adapter.values())


def test_dropped_samples_are_left_out_and_counted(run):
    def drop(p):
        if not hasattr(p, "dropped"):
            return p
        dropped = torch.arange(len(p.scores)) == 1
        return replace(p, scores=p.scores.masked_fill(dropped, torch.nan), dropped=dropped)

    policy, _, metrics = run.learner.update(*run.state, *map(drop, run.parts))
    assert metrics["rollout/dropped"] == 2 and metrics["tokens/completions"] < sum(
        int(p.completion_mask.sum()) for p in run.parts[::4]
    )
    assert all(t.isfinite().all() for t in policy.adapter.values())


@pytest.fixture
def broken(monkeypatch):
    """A run whose loss is not a number."""
    run = Run("ppo")
    state = replace(run.state[0], value_head={n: t * torch.nan for n, t in run.state[0].value_head.items()})
    return run, state


def test_a_step_with_a_loss_that_is_not_finite_is_not_taken(broken):
    run, state = broken
    policy, learner_state, metrics = run.learner.update(state, run.state[1], *run.parts)
    assert (policy.version, learner_state.version, learner_state.rejected) == (1, 1, 1)
    assert metrics["optimizer/rejected_steps"] == 1 and learner_state.moments == {}
    assert tensors_sha256(policy.adapter) == tensors_sha256(state.adapter)


def test_three_such_steps_in_a_row_end_the_run_and_one_good_step_starts_anew(broken):
    run, state = broken
    tired = replace(run.state[1], rejected=MAX_REJECTED - 1)
    with pytest.raises(FloatingPointError, match=r"3 steps in a row were rejected: the loss is nan.*learning_rate"):
        run.learner.update(state, tired, *run.parts)
    assert run.learner.update(run.state[0], tired, *run.parts)[1].rejected == 0


def test_a_step_of_which_everything_was_dropped_says_so(broken):
    run, _ = broken
    parts = [replace(p, dropped=torch.ones_like(p.dropped)) if hasattr(p, "dropped") else p for p in run.parts]
    with pytest.raises(ValueError, match="every completion of the step was dropped"):
        run.learner.update(*run.state, *parts)


def test_reported_kl_is_the_one_that_steers_the_coefficient():
    """Bug 11: an estimate that is negative for no reason of the policy's shrank the coefficient."""
    run = Run("ppo, adaptive KL")
    shifted = [replace(p, logprobs=p.logprobs - 0.3) if isinstance(p, RefLogprobs) else p for p in run.parts]
    _, state, metrics = run.learner.update(*run.state, *shifted)
    assert metrics["objective/kl"] == pytest.approx(0.3 * metrics["tokens/completions_mean"], rel=1e-4)
    assert metrics["objective/kl_k1"] == pytest.approx(metrics["objective/kl"])
    error = max(-0.2, min(0.2, metrics["objective/kl"] / 1 - 1))
    assert state.kl_coef == pytest.approx(0.2 * (1 + error * 8 / 100))
    assert metrics["reward/kl_penalty"] == pytest.approx(-0.2 * 0.3, rel=1e-4)


def test_grouped_ppo_reports_each_group():
    run = Run("grouped_ppo, by length")
    _, _, metrics = run.learner.update(*run.state, *run.parts)
    names = {n for p in run.parts[::4] for n in p.unit.groups}
    assert names <= {"0-99 tokens", "100-114 tokens", "115+ tokens"}
    for figure in ("reward", "advantage", "kl", "watch/toxicity", "completions"):
        assert {f"group/{name}/{figure}" for name in names} <= set(metrics)
    assert sum(metrics[f"group/{name}/completions"] for name in names) == 8


@pytest.mark.parametrize("case", ["ppo", "grouped_ppo", "reinforce_pp"])
def test_a_batch_of_one_completion_of_a_prompt_of_one_token_at_the_length_limit(case):
    config = config_of(case, minibatch_size=1)
    learner, prompt = Learner(settings_of(config, "learner")), Prompt("", (1,), ("",), "alone")
    state = learner.initial_state()
    rollouts, old = RolloutWorker(settings_of(config, "rollout")).generate(
        make_unit([prompt], [0], (0, 0), seed=3), state[0]
    )
    assert rollouts.completion_mask.all() and rollouts.completion_ids.shape == (1, 12), "cut at rollout.max_new_tokens"
    scores, reference = (
        RewardWorker(settings_of(config, "reward")).score(rollouts),
        ReferenceWorker(settings_of(config, "reference")).logprobs(rollouts, state[0]),
    )
    policy, _, metrics = learner.update(*state, rollouts, old, scores, reference)
    assert all(t.isfinite().all() for t in policy.adapter.values())
    assert all(map(math.isfinite, metrics.values())) and metrics["optimizer/rejected_steps"] == 0


def test_completions_that_are_all_the_same_teach_a_group_nothing():
    """Same text, same reward, advantage 0: only the KL penalty is left, and at the reference that has no gradient."""
    run = Run("grpo")
    rollouts, _, scores = run.parts[:3]
    ids, mask = (t[:1].expand_as(t).contiguous() for t in (rollouts.completion_ids, rollouts.completion_mask))
    same = replace(rollouts, completion_ids=ids, completion_mask=mask)
    verdict = replace(scores, scores=torch.full_like(scores.scores, 0.7))
    reference = ReferenceWorker(settings_of(config_of(run.case), "reference")).logprobs(same, run.state[0])
    old = replace(run.parts[1], logprobs=reference.logprobs, values=torch.zeros(mask.shape))
    metrics = run.learner.update(*run.state, same, old, verdict, reference)[2]
    assert metrics["optimizer/grad_norm"] == pytest.approx(0, abs=1e-5) and metrics["optimizer/rejected_steps"] == 0


def test_epochs_end_once_the_policy_has_strayed_too_far(monkeypatch):
    run = Run("ppo")
    assert run.learner.update(*run.state, *run.parts)[2]["optimizer/epochs"] == 2
    strict = Learner(settings_of(config_of("ppo", target_kl=0.1), "learner"))
    assert [strict._strayed({"policy/approx_kl_k1": kl}) for kl in (-1.0, 0.14, 0.16)] == [False, False, True]
    monkeypatch.setattr(strict, "_strayed", lambda last: True)
    assert strict.update(*run.state, *run.parts)[2]["optimizer/epochs"] == 1


@pytest.mark.parametrize("case", ["grouped_ppo, by length", "grpo, Dr."])
def test_reported_means_are_means_however_the_loss_is_weighed(case):
    run = Run(case)
    config = config_of(case, minibatch_size=8, ppo_epochs=1, learning_rate=1e-12)
    metrics = Learner(settings_of(config, "learner")).update(*run.state, *run.parts)[2]
    every = [run.learner.policy(p.unit.prompt_ids, p.unit.prompt_mask, p.completion_ids).full for p in run.parts[::4]]
    per_token = torch.cat([entropy(x)[p.completion_mask] for x, p in zip(every, run.parts[::4], strict=True)])
    assert metrics["policy/entropy"] == pytest.approx(per_token.mean().item(), rel=1e-3)
