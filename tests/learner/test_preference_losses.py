"""Losses of preferences: by hand, against trl's, and with gradients as the papers give them."""

import math
from types import SimpleNamespace

import pytest
import torch
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from configs.dpo import CPO, DPO, IPO, KTO, ORPO, SimPO
from learner.preferences.losses import ipo_loss, kto_loss, mismatched_kl, odds_ratio_loss, sigmoid_loss
from learner.preferences.objective import example_losses
from learner.preferences.unit import Batch, PreferenceUnit

CHOSEN = torch.tensor([-3.0, -10.0, -0.5, -40.0])
REJECTED = torch.tensor([-5.0, -8.0, -60.0, -40.0])
SURE, TIE = torch.ones(4), torch.full((4,), 0.5)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def unit(targets: torch.Tensor, lengths: list[list[int]]) -> PreferenceUnit:
    """A unit of which only targets and lengths count."""
    counts, none = torch.tensor(lengths), torch.zeros(len(lengths), 0)
    mask = torch.arange(int(counts.max())) < counts.view(-1, 1)
    batch = Batch(len(lengths), int(counts[:, 0].sum()))
    return PreferenceUnit(0, 0, (), none, none, none, mask, mask, targets, batch)


def losses(config, logprobs, reference=None, targets=None, lengths=None, divergence=0.0):
    targets = torch.ones(len(logprobs)) if targets is None else targets
    made = unit(targets, lengths or [[1, 1]] * len(logprobs))
    reference = torch.zeros_like(logprobs) if reference is None else reference
    return example_losses(config, made, logprobs, reference, torch.tensor(divergence))


def test_dpo_matches_a_case_computed_by_hand():
    """Log-ratios +1 and -0.5, beta 0.1: -log sigmoid(0.15)."""
    logprobs, reference = torch.tensor([[-2.0, -4.0]]), torch.tensor([[-3.0, -3.5]])
    [found] = losses(DPO(beta=0.1), logprobs, reference)
    assert found.item() == pytest.approx(0.620957, abs=1e-6)
    [smoothed] = losses(DPO(beta=0.1, label_smoothing=0.2), logprobs, reference)
    assert smoothed.item() == pytest.approx(-0.8 * log_sigmoid(0.15) - 0.2 * log_sigmoid(-0.15), abs=1e-6)
    [tied] = losses(DPO(beta=0.1, label_smoothing=0.2), logprobs, reference, torch.tensor([0.5]))
    assert tied.item() == pytest.approx(-0.5 * log_sigmoid(0.15) - 0.5 * log_sigmoid(-0.15), abs=1e-6)


def test_the_gradient_of_dpo_is_the_papers():
    """Rafailov et al. 2023, section 4: beta times the sigmoid of the margin the wrong way round."""
    logprobs = torch.tensor([[-2.0, -4.0], [-7.0, -1.0]], requires_grad=True)
    reference = torch.tensor([[-3.0, -3.5], [-5.0, -1.5]])
    losses(DPO(beta=0.3), logprobs, reference).sum().backward()
    ratios = (logprobs - reference).detach()
    expected = 0.3 * torch.sigmoid(0.3 * (ratios[:, 1] - ratios[:, 0]))
    torch.testing.assert_close(logprobs.grad, torch.stack([-expected, expected], dim=1))


def test_ipo_aims_at_a_margin_and_at_none_for_a_tie():
    """tau 0.25: two nats."""
    margins = torch.tensor([2.0, 0.0, 5.0, -1.0])
    assert ipo_loss(margins, SURE, 0.25).tolist() == [0.0, 4.0, 9.0, 9.0]
    assert ipo_loss(margins, TIE, 0.25).tolist() == [4.0, 0.0, 25.0, 1.0]
    [found] = losses(IPO(beta=0.25), torch.tensor([[-2.0, -4.0]]), torch.tensor([[-3.0, -3.5]]))
    assert found.item() == pytest.approx(0.25)


def test_with_the_policy_at_its_reference_every_loss_has_its_known_value():
    logprobs = torch.stack([CHOSEN, REJECTED], dim=1)
    for targets in (SURE, TIE):
        assert losses(DPO(), logprobs, logprobs, targets).tolist() == pytest.approx([math.log(2)] * 4, abs=1e-7)
    assert losses(IPO(beta=0.25), logprobs, logprobs).tolist() == [4.0] * 4
    assert losses(IPO(beta=0.25), logprobs, logprobs, TIE).tolist() == [0.0] * 4
    assert losses(KTO(), logprobs, logprobs, torch.tensor([1.0, 0, 1, 0])).tolist() == [0.5] * 4


def test_kto_matches_a_case_computed_by_hand_and_pulls_the_right_way():
    """KL 1, beta 0.5: gains are half the log-ratio less one."""
    ratios = torch.tensor([3.0, 3.0, -1.0], requires_grad=True)
    up = torch.tensor([True, False, True])
    found = kto_loss(ratios, up, torch.tensor(1.0), 0.5, (1.0, 2.0))
    sigmoid = 1 / (1 + math.exp(-1))
    assert found.tolist() == pytest.approx([1 - sigmoid, 2 * sigmoid, sigmoid], abs=1e-6)
    found.sum().backward()
    assert (ratios.grad < 0).tolist() == up.tolist()


def test_the_kl_of_kto_is_the_mean_over_mismatched_completions_and_never_negative():
    assert mismatched_kl(torch.tensor([1.0, 3.0])).item() == 2.0
    assert mismatched_kl(torch.tensor([1.0, -3.0])).item() == 0.0


def trainer(kind, **settings):
    """One of trl's trainers with nothing but what its loss reads."""
    made = kind.__new__(kind)
    made.accelerator = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)
    made.alpha = made.simpo_gamma = made.label_smoothing = 0.0
    vars(made).update(settings)
    return made


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cpo_and_simpo_are_trls(smoothing):
    cpo = trainer(CPOTrainer, loss_type="sigmoid", beta=0.3, label_smoothing=smoothing)
    theirs = cpo.cpo_loss(CHOSEN, REJECTED)[0]
    torch.testing.assert_close(sigmoid_loss(0.3 * (CHOSEN - REJECTED), SURE, smoothing), theirs)
    simpo = trainer(CPOTrainer, loss_type="simpo", beta=2.0, simpo_gamma=0.7)
    lengths = torch.tensor([[3, 4], [8, 2], [1, 40], [10, 10]])
    theirs = simpo.cpo_loss(CHOSEN / lengths[:, 0], REJECTED / lengths[:, 1])[0]
    ours = losses(SimPO(beta=2.0, gamma=0.7), torch.stack([CHOSEN, REJECTED], dim=1), lengths=lengths.tolist())
    torch.testing.assert_close(ours, theirs)


def test_the_odds_ratio_is_trls_and_finite_where_theirs_is_not():
    orpo = trainer(ORPOTrainer, beta=1.0)
    torch.testing.assert_close(
        odds_ratio_loss(CHOSEN / 5, REJECTED / 5), -orpo.odds_ratio_loss(CHOSEN / 5, REJECTED / 5)[0]
    )
    certain = torch.tensor([0.0, -1e-9, -30.0], requires_grad=True)
    odds_ratio_loss(certain, torch.tensor([-1.0, 0.0, -1e-3])).sum().backward()
    assert certain.grad.isfinite().all()


def test_the_likelihood_term_is_the_mean_over_the_batchs_tokens():
    """CPO's and ORPO's: -(-3 - 10) / (2 + 8) tokens, whatever the completions' lengths."""
    logprobs, lengths = torch.tensor([[-3.0, -5.0], [-10.0, -8.0]]), [[2, 9], [8, 1]]
    with_it, without = (losses(CPO(nll_weight=w), logprobs, lengths=lengths).mean() for w in (1.0, 0.0))
    assert (with_it - without).item() == pytest.approx(1.3)
    odds = odds_ratio_loss(*(logprobs / torch.tensor(lengths)).unbind(1))
    orpo = losses(ORPO(beta=0.5), logprobs, lengths=lengths).mean()
    assert orpo.item() == pytest.approx(0.5 * odds.mean().item() + 1.3, abs=1e-6)
