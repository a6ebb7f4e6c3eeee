"""Each algorithm's advantages and weights against numbers worked out by hand, and the laws of the family."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.algorithms import GRPO, PPO, RLOO, GroupedPPO, ReinforcePP
from learner.advantages import group_normalised, leave_one_out, returns_to_go
from learner.algorithms import ESTIMATORS
from learner.algorithms.grouped_ppo import group_weights, merge_small
from learner.batch import Batch
from learner.losses import policy_loss, token_weights
from learner.rewards import ScoreMoments, full_kl, standardise
from learner.tensors import masked_mean, masked_var, whiten

GROUPS = torch.tensor([0, 0, 1, 1])
MASK = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]]).bool()
ALGORITHMS = [PPO(), GroupedPPO(), GroupedPPO(scale_by="group"), GRPO(group_size=2), RLOO(group_size=2), ReinforcePP()]


def batch(rewards, values=None, groups=GROUPS, mask=MASK) -> Batch:
    """A batch of which only rewards, values, groups and mask matter."""
    zeros = torch.zeros(mask.shape)
    rewards = torch.as_tensor(rewards).float() * mask
    return Batch(
        prompt_ids=zeros, prompt_mask=mask, decoder_prefix=zeros, completion_ids=zeros, mask=mask, sampling_mask=zeros,
        ended=mask[:, 0], groups=groups, group_weights=torch.ones(len(groups)),
        old_logprobs=zeros, old_values=zeros if values is None else values,
        ref_logprobs=zeros, ref_full=zeros, kl=zeros, scores=zeros[:, 0], rewards=rewards,
        advantages=zeros, returns=zeros,
    )  # fmt: skip


def test_group_normalised_matches_hand_computed():
    rewards = torch.tensor([1.0, 3.0, 5.0, 5.0])
    assert group_normalised(rewards, GROUPS, scale_by_std=False).tolist() == [-1, 1, 0, 0]
    scaled = group_normalised(rewards, GROUPS, scale_by_std=True)
    torch.testing.assert_close(scaled, torch.tensor([-1.0, 1.0, 0, 0]) / (math.sqrt(2) + 1e-4))


def test_leave_one_out_matches_hand_computed():
    rewards, groups = torch.tensor([1.0, 2.0, 6.0, 9.0]), torch.tensor([0, 0, 0, 1])
    assert leave_one_out(rewards, groups).tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 0]


def test_returns_to_go_match_hand_computed():
    rewards = torch.tensor([[1.0, 2.0, 9.0]])
    assert returns_to_go(rewards, torch.tensor([[True, True, False]]), gamma=0.5).tolist() == [[2.0, 2.0, 0.0]]


def test_grpo_gives_every_token_of_a_completion_its_advantage():
    rewards = [[0, 1, 9], [3, 0, 0], [0, 0, 2], [0, 2, 0]]
    advantages, returns = ESTIMATORS["grpo"](batch(rewards), GRPO(scale_by_std=False))
    assert advantages.tolist() == [[-1, -1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]] and not returns.any()


def test_rloo_counts_the_kl_penalty_in_the_reward():
    rewards = [[-0.5, 1.5, 0], [3, 0, 0], [0, 0, 2], [0, 4, 0]]
    advantages, _ = ESTIMATORS["rloo"](batch(rewards), RLOO())
    assert advantages.tolist() == [[-2, -2, 0], [2, 0, 0], [-2, -2, -2], [2, 2, 0]]


def test_reinforce_pp_whitens_returns_to_go_over_the_batch():
    rewards = torch.tensor([[1.0, 2, 0], [3, 0, 0], [0, 0, 2], [0, 4, 0]])
    to_go = torch.tensor([[3.0, 2, 0], [3, 0, 0], [2, 2, 2], [4, 4, 0]])
    advantages, _ = ESTIMATORS["reinforce_pp"](batch(rewards), ReinforcePP())
    torch.testing.assert_close(advantages, whiten(to_go, MASK))


def test_grouped_ppo_whitens_within_each_group():
    torch.manual_seed(0)
    rewards, values = torch.randn(4, 3), torch.randn(4, 3)
    whole = batch(rewards, values)
    grouped, _ = ESTIMATORS["grouped_ppo"](whole, GroupedPPO(scale_by="group", min_completions=2))
    for group in (0, 1):
        alone, _ = ESTIMATORS["ppo"](whole.rows(group == GROUPS), PPO())
        torch.testing.assert_close(grouped[group == GROUPS], alone)
    one, _ = ESTIMATORS["grouped_ppo"](batch(rewards, values, torch.zeros(4, dtype=torch.long)), GroupedPPO())
    torch.testing.assert_close(one, ESTIMATORS["ppo"](whole, PPO())[0])


def test_grouped_ppo_centres_each_group_and_scales_over_the_batch():
    advantages, _ = ESTIMATORS["grouped_ppo"](
        batch([[0, 0, 1], [3, 0, 0], [0, 0, 5], [0, 5, 0]]), GroupedPPO(min_completions=2)
    )
    for group in (0, 1):
        members = group == GROUPS
        assert masked_mean(advantages[members], MASK[members]).abs() < 1e-6
    assert masked_var(advantages, MASK) == pytest.approx(1)


def test_groups_of_few_are_centred_together():
    assert merge_small(torch.tensor([0, 1, 1, 2, 1, 0]), least=2).tolist() == [0, 1, 1, -1, 1, 0]
    assert merge_small(torch.tensor([0, 1, 1, 2, 1, 0]), least=3).tolist() == [-1, 1, 1, -1, 1, -1]
    rewards = torch.randn(4, 3)
    few, _ = ESTIMATORS["grouped_ppo"](batch(rewards), GroupedPPO(min_completions=3))
    torch.testing.assert_close(few, ESTIMATORS["ppo"](batch(rewards), PPO())[0])


def test_group_weights_match_hand_computed():
    weights = torch.tensor([2.0, 2, 1, 1])
    mean = group_weights(MASK, GROUPS, weights, "mean")
    torch.testing.assert_close(mean, MASK * torch.tensor([[2 / 9], [2 / 9], [1 / 15], [1 / 15]]))
    assert mean.sum() == pytest.approx(1)
    torch.testing.assert_close(group_weights(MASK, GROUPS, weights, "sum"), 3 * mean)
    assert not group_weights(MASK, GROUPS, torch.zeros(4), "mean").any()


def test_token_weights_match_hand_computed():
    rows = {"token": [1 / 8] * 4, "sequence": [1 / 8, 1 / 4, 1 / 12, 1 / 8], "constant": [1 / 40] * 4}
    for average, expected in rows.items():
        torch.testing.assert_close(token_weights(MASK, average, 10), MASK * torch.tensor(expected).unsqueeze(1))


def test_clip_higher_bounds_growth_apart():
    new = torch.tensor([0.25, 0.5, -0.5])  # ratios 1.284, 1.649, 0.607
    loss, clipped = policy_loss(new, torch.zeros(3), torch.ones(3), low=0.2, high=0.28)
    torch.testing.assert_close(loss, -torch.tensor([1.28, 1.28, math.exp(-0.5)]))
    assert clipped.tolist() == [True, True, False]


def test_full_kl_matches_hand_computed():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert full_kl(p.log()[None, None], q.log()[None, None]).item() == pytest.approx(expected)


def test_score_moments_are_those_of_all_scores_so_far():
    torch.manual_seed(0)
    scores = torch.randn(3, 8) * 3 + 1
    moments = ScoreMoments()
    for part in scores:
        moments = moments.add(part)
    assert moments.count == 24 and moments.mean == pytest.approx(scores.mean().item(), rel=1e-5)
    assert moments.std == pytest.approx(scores.std().item(), rel=1e-5)
    torch.testing.assert_close(standardise(scores[2], moments, True), (scores[2] - scores.mean()) / scores.std())
    torch.testing.assert_close(standardise(scores[2], moments, False), scores[2] / scores.std())


@pytest.mark.parametrize(("size", "expected"), [(1, -1.0), (4, -10.0)])
def test_scores_that_hardly_differ_are_not_divided_by_almost_nothing(size, expected):
    """By a standard deviation of 0 a score of -1.5 became -1.3e7, and its value loss 3e13."""
    scores = torch.full((size,), -1.5) + 1e-7 * torch.arange(size)
    moments = ScoreMoments().add(scores)
    torch.testing.assert_close(standardise(scores, moments, False), torch.full((size,), expected))
    torch.testing.assert_close(standardise(scores, moments, True), torch.zeros(size), atol=0.02, rtol=0)
    assert standardise(torch.zeros(size), ScoreMoments().add(torch.zeros(size)), False).tolist() == [0.0] * size


def test_scores_that_differ_are_divided_by_their_deviation_wherever_their_mean_is():
    scores = 1000 + torch.tensor([-5.0, 5.0, -5.0, 5.0])
    moments = ScoreMoments().add(scores)
    torch.testing.assert_close(standardise(scores, moments, True), (scores - 1000) / scores.std(), msg="as trl does")
    torch.testing.assert_close(standardise(scores, moments, False), scores / 100, msg="not above 10")


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=9), st.integers(1, 4))
def test_group_advantages_sum_to_zero(rewards, count):
    rewards = torch.tensor(rewards)
    groups = torch.arange(len(rewards)) % count
    for advantages in (group_normalised(rewards, groups, True), leave_one_out(rewards, groups)):
        for group in groups.unique():
            assert advantages[groups == group].sum().abs() < 1e-3


@given(st.floats(-1000, 1000, width=32), st.integers(2, 9))
def test_a_group_of_equal_rewards_gives_zero_advantage(reward, size):
    rewards, groups = torch.full((size,), reward), torch.zeros(size, dtype=torch.long)
    assert group_normalised(rewards, groups, True).abs().max() == 0
    assert leave_one_out(rewards, groups).abs().max() <= 1e-4 * max(1, abs(reward))


@pytest.mark.parametrize("config", ALGORITHMS, ids=lambda c: c.type)
@given(seed=st.integers(0, 2**31), more=st.integers(0, 5))
@settings(max_examples=25)
def test_advantages_depend_neither_on_padding_nor_on_the_order_of_sequences(config, seed, more):
    torch.manual_seed(seed)
    rewards, values, order = torch.randn(4, 3), torch.randn(4, 3), torch.randperm(4)
    plain = ESTIMATORS[config.type](batch(rewards, values), config)[0]
    assert not plain[~MASK].any()
    pad = torch.nn.functional.pad
    wide = batch(pad(rewards, (0, more)), pad(values, (0, more), value=7.0), mask=pad(MASK, (0, more)))
    torch.testing.assert_close(ESTIMATORS[config.type](wide, config)[0][:, :3], plain, atol=1e-5, rtol=1e-4)
    shuffled = ESTIMATORS[config.type](batch(rewards, values).rows(order), config)[0]
    torch.testing.assert_close(shuffled, plain[order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", ALGORITHMS, ids=lambda c: c.type)
def test_equal_rewards_and_single_tokens_give_finite_advantages(config):
    for mask in (MASK, MASK & (torch.arange(3) == 0)):
        advantages, returns = ESTIMATORS[config.type](batch(torch.ones(4, 3), mask=mask), config)
        assert advantages.isfinite().all() and returns.isfinite().all()


@pytest.mark.parametrize("config", ALGORITHMS, ids=lambda c: c.type)
def test_a_batch_of_one_gives_finite_advantages(config):
    one = batch(torch.ones(4, 3)).rows(torch.tensor([0]))
    assert ESTIMATORS[config.type](one, config)[0].isfinite().all()
