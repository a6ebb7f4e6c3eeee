"""The pure functions against numbers worked out by hand, and the laws they keep."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.advantages import gae
from learner.losses import entropy, policy_loss, value_loss
from learner.rewards import adapted_kl_coef, kl_estimate, token_rewards
from learner.tensors import masked_mean, masked_var, pad_cat, whiten

MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_masked_statistics_match_hand_computed():
    x = torch.tensor([[1.0, 2.0, 3.0], [6.0, math.nan, 9.0]])
    assert masked_mean(x, MASK) == 3.0
    assert masked_var(x, MASK) == pytest.approx((4 + 1 + 0 + 9) / 3)
    white = whiten(x, MASK)
    assert white[0, 0] == pytest.approx(-2 / math.sqrt(14 / 3)) and white[1].tolist()[1:] == [0, 0]


def test_variance_of_one_token_is_zero_not_nan():
    one = torch.tensor([[True, False]])
    assert masked_var(torch.tensor([[5.0, 7.0]]), one) == 0
    assert whiten(torch.tensor([[5.0, 7.0]]), one).tolist() == [[0.0, 0.0]]


def test_token_rewards_match_hand_computed():
    kl = torch.tensor([[0.5, -1.0, 2.0], [0.25, 8.0, 8.0]])
    rewards = token_rewards(torch.tensor([3.0, -2.0]), kl, MASK, kl_coef=0.2)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 0.2, 2.6], [-2.05, 0.0, 0.0]]))


def test_kl_estimators_match_hand_computed():
    lp, ref = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0])
    expected = {"k1": [0.5, -1.0], "abs": [0.5, 1.0], "k2": [0.125, 0.5], "k3": [math.exp(-0.5) - 0.5, math.e - 2]}
    for name, numbers in expected.items():
        torch.testing.assert_close(kl_estimate(name, lp, ref), torch.tensor(numbers))


def test_gae_matches_hand_computed():
    rewards, values = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.5, 1.0, 1.5]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    # gamma 0.5, lambda 0.8: deltas 2-1.5=0.5; 0+0.75-1=-0.25; 1+0.5-0.5=1
    advantages, returns = gae(rewards, values, mask, gamma=0.5, lam=0.8)
    expected = torch.tensor([[1 + 0.4 * (-0.25 + 0.4 * 0.5), -0.25 + 0.4 * 0.5, 0.5]])
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, expected + values)


@given(st.integers(0, 6), st.integers(0, 2**31))
def test_advantages_ignore_padding(more, seed):
    torch.manual_seed(seed)
    rewards, values = torch.randn(2, 3), torch.randn(2, 3)
    narrow = gae(rewards, values, MASK, 0.9, 0.95)[0]
    junk = torch.full((2, more), 1e6)
    wide_mask = torch.cat([MASK, torch.zeros(2, more, dtype=torch.bool)], dim=1)
    wide = gae(torch.cat([rewards, junk], 1), torch.cat([values, junk], 1), wide_mask, 0.9, 0.95)[0]
    assert torch.equal(wide[:, :3], narrow) and not wide[:, 3:].any()
    torch.testing.assert_close(whiten(wide, wide_mask)[:, :3], whiten(narrow, MASK))


def test_policy_loss_matches_hand_computed():
    old = torch.zeros(4)
    new = torch.tensor([0.5, 0.5, -0.5, -0.5])  # ratios 1.6487, 0.6065
    loss, clipped = policy_loss(new, old, torch.tensor([1.0, -1.0, 1.0, -1.0]), low=0.2, high=0.2)
    torch.testing.assert_close(loss, torch.tensor([-1.2, math.exp(0.5), -math.exp(-0.5), 0.8]))
    assert clipped.tolist() == [True, False, False, True]


def test_value_loss_matches_hand_computed():
    loss, clipped = value_loss(torch.tensor([1.0, 0.1]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0]), 0.2)
    torch.testing.assert_close(loss, torch.tensor([0.5 * 0.8**2, 0.5 * 0.9**2]))
    assert clipped.tolist() == [True, False]


def test_entropy_of_a_uniform_distribution_is_the_log_of_its_size():
    torch.testing.assert_close(entropy(torch.full((1, 2, 8), -math.log(8))), torch.full((1, 2), math.log(8)))


def test_adaptive_kl_coefficient_matches_hand_computed():
    up, down = (adapted_kl_coef(0.2, kl, target=6, batch_size=16, horizon=10_000) for kl in (12.0, 5.4))
    assert up == pytest.approx(0.2 * (1 + 0.2 * 16 / 10_000)) and down == pytest.approx(0.2 * (1 - 0.1 * 16 / 10_000))


def test_pad_cat_pads_on_the_right():
    joined = pad_cat([torch.ones(1, 2), torch.full((2, 3), 2.0)])
    assert joined.tolist() == [[1, 1, 0], [2, 2, 2], [2, 2, 2]]
