"""Advantage estimators. Their results are zero past the end of a completion."""

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16) over completions padded on the right.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, both V and A zero past the end.

    Returns advantages and returns = advantages + values, both [B, T].
    """
    rewards, values = rewards.masked_fill(~mask, 0), values.masked_fill(~mask, 0)
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = rewards.new_zeros(rewards.shape[0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = advantages[:, t] = delta + gamma * lam * next_advantage
        next_value = values[:, t]
    return advantages, advantages + values


def group_normalised(rewards: Tensor, groups: Tensor, scale_by_std: bool) -> Tensor:
    """Rewards [B] minus their group's mean, divided by its standard deviation if `scale_by_std`. [B]

    Shao et al. 2024, section 4.1.2; without the division Liu et al. 2025, section 3.2. `groups` [B] are group numbers.
    A group of equal rewards, or of one, has advantage 0.
    """
    advantages = torch.zeros_like(rewards)
    for group in groups.unique():
        members = groups == group
        centred = rewards[members] - rewards[members].mean()
        deviation = centred.norm() / max(len(centred) - 1, 1) ** 0.5
        # Equal rewards can leave rounding errors, which the division would amplify.
        if deviation > 1e-6 * rewards[members].abs().max():
            advantages[members] = centred / (deviation + 1e-4) if scale_by_std else centred
    return advantages


def leave_one_out(rewards: Tensor, groups: Tensor) -> Tensor:
    """Rewards [B] minus the mean of the *others* in their group (Kool et al. 2019; Ahmadian et al. 2024).

    A group of one has nothing to compare with: its advantage is 0.
    """
    advantages = torch.zeros_like(rewards)
    for group in groups.unique():
        members = groups == group
        size = int(members.sum())
        if size > 1:
            advantages[members] = (rewards[members] - rewards[members].mean()) * size / (size - 1)
    return advantages


def returns_to_go(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Discounted sum of the rewards from each token on (Williams 1992). [B, T]"""
    return gae(rewards, torch.zeros_like(rewards), mask, gamma, lam=1.0)[0]
