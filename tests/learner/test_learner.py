"""One update: what it may touch, what it must not depend on, what it refuses."""

from dataclasses import replace

import pytest
import torch

from configs.errors import UsageError
from learner import objective
from learner.adapter import tensors_sha256
from learner.learner import Learner
from learner.types import Forward
from tests.conftest import settings_of, small_config


def update(learner, start, parts):
    return learner.update(*start, *parts)


@pytest.fixture(scope="module")
def updated(learner, start, parts):
    return update(learner, start, parts)


def test_reference_equals_policy_at_start(updated):
    """Bug 2: KL was to another model, 32 nats at the first step. Law 3: here it is 0, exactly."""
    assert updated[2]["objective/kl"] == 0 and updated[2]["objective/kl_k3"] == 0


def test_ratio_is_one_before_first_update(updated):
    assert updated[2]["policy/first_ratio_gap"] < 1e-6


def test_update_is_a_function(learner, start, parts, updated):
    """Law 1: the same state and experiences give the same bits, whatever the learner did before."""
    again = update(learner, start, parts)
    assert tensors_sha256(again[0].adapter) == tensors_sha256(updated[0].adapter)
    assert tensors_sha256(again[1].moments) == tensors_sha256(updated[1].moments)
    assert again[2] == updated[2]


def test_moments_are_carried_over(learner, start, parts, updated):
    """Two updates in one go, and with the second on a learner that has only the state."""
    policy, state, _ = updated
    rollouts = [replace(p, version=1) if hasattr(p, "version") else p for p in parts]
    here = learner.update(policy, state, *rollouts)[0]
    elsewhere = Learner(learner.settings).update(policy, state, *rollouts)[0]
    forgetful = learner.update(policy, replace(state, moments={}), *rollouts)[0]
    assert tensors_sha256(here.adapter) == tensors_sha256(elsewhere.adapter) != tensors_sha256(forgetful.adapter)


def cut(parts, rows):
    """The same, the completions at these rows of each unit having been cut before their end."""
    return [replace(p, ended=~torch.isin(torch.arange(len(p.texts)), torch.tensor(rows))) if hasattr(p, "texts") else p
            for p in parts]  # fmt: skip


def test_a_cut_completion_costs_the_penalty_and_is_counted(start, parts):
    plain, none = (
        Learner(settings_of(small_config(), "learner")),
        Learner(settings_of(small_config(algorithm__missing_eos_penalty=2), "learner")),
    )
    before, after = plain.update(*start, *cut(parts, [0]))[2], none.update(*start, *cut(parts, [0]))[2]
    assert before["rollout/cut"] == after["rollout/cut"] == 1 / 4
    assert after["reward/mean"] == pytest.approx(before["reward/mean"] - 2 / 4, rel=1e-5)
    assert after["score/classifier"] == before["score/classifier"], "the raw score is reported unchanged"
    whole = none.update(*start, *cut(parts, []))
    assert whole[2]["rollout/cut"] == 0
    assert tensors_sha256(whole[0].adapter) == tensors_sha256(plain.update(*start, *cut(parts, []))[0].adapter)


@pytest.mark.parametrize("average", ["token", "sequence", "constant"])
def test_nothing_is_learned_from_completions_that_were_cut_if_so_asked(start, parts, average):
    learner = Learner(
        settings_of(
            small_config(algorithm__mask_truncated_completions="true", algorithm__loss_average=average), "learner"
        )
    )
    batch = learner.prepare(*start, *cut(parts, [0, 2]))[0].batch
    weights = learner._loss_weights(batch)
    assert not weights[~batch.ended].any() and (weights[batch.ended][batch.mask[batch.ended]] > 0).all()
    if average == "token":
        assert weights.sum().item() == pytest.approx(1)
    first, state, _ = learner.update(*start, *parts)  # Adam's moments would move the weights on
    later = [replace(p, version=1) if hasattr(p, "version") else p for p in cut(parts, range(4))]
    second, after, metrics = learner.update(first, state, *later)
    assert (
        metrics["optimizer/grad_norm"] == 0 and metrics["rollout/cut"] == 1 and metrics["optimizer/rejected_steps"] == 0
    )
    assert tensors_sha256(second.adapter) == tensors_sha256(first.adapter)
    assert tensors_sha256(after.moments) == tensors_sha256(state.moments)


def test_a_step_of_cut_groups_is_one_of_finite_numbers(start, parts):
    learner = Learner(
        settings_of(
            small_config(algorithm__type="grouped_ppo", algorithm__mask_truncated_completions="true"), "learner"
        )
    )
    for rows in ([0, 1, 2], range(4)):
        policy, _, metrics = learner.update(*start, *cut(parts, rows))
        assert metrics["optimizer/rejected_steps"] == 0 and all(t.isfinite().all() for t in policy.adapter.values())


def test_a_layer_that_got_no_gradient_in_the_first_update_is_named(start, parts):
    """Where the model tells it only by real numbers."""
    learner = Learner(settings_of(small_config(policy__lora__target_modules="q,shared"), "learner"))
    state = learner.initial_state()
    with pytest.raises(UsageError, match=r"policy.lora.target_modules: shared never receives a gradient"):
        learner.update(*state, *parts)


def test_no_base_parameter_ever_moves(config, start, parts):
    learner = Learner(settings_of(config, "learner"))
    frozen = {n: p.clone() for n, p in learner.policy.named_parameters() if not p.requires_grad}
    policy, _, _ = update(learner, start, parts)
    assert all(torch.equal(p, dict(learner.policy.named_parameters())[n]) for n, p in frozen.items())
    moved = {n for n, t in policy.adapter.items() if not torch.equal(t, start[0].adapter[n])}
    assert {n.split(".")[-2] for n in moved} == {"lora_A", "lora_B"} or {n.split(".")[-2] for n in moved} == {"lora_B"}


@pytest.mark.parametrize("size", [1, 3])
def test_loss_is_same_for_any_microbatch_split(start, parts, updated, size):
    split = update(Learner(settings_of(small_config(algorithm__microbatch_size=size), "learner")), start, parts)
    for name, value in updated[2].items():
        assert split[2][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    for name, tensor in updated[0].adapter.items():
        torch.testing.assert_close(split[0].adapter[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.fixture
def batch(learner, start, parts):
    return learner.prepare(*start, *parts)[0].batch


def test_first_token_is_trained(learner, batch):
    """Bug 3: the mask started at 1. Here the first token's log-probability has a gradient, and padding has none."""
    assert batch.mask[:, 0].all()
    logprobs = batch.old_logprobs.clone().requires_grad_()
    new = Forward(logprobs, full=torch.zeros(*logprobs.shape, 4), values=batch.old_values)
    weights, shares = learner._loss_weights(batch), learner._metric_weights(batch)
    objective.loss(new, objective.Microbatch(batch, weights, shares), learner.algorithm, 0.2)[0].backward()
    assert (logprobs.grad[:, 0] != 0).all()
    assert not logprobs.grad[~batch.mask].any()


def test_batch_rows_are_those_of_the_units(batch, experiences):
    """What an update learns from a sequence is what its unit's workers found, whatever is padded around it."""
    rows = []
    for e in experiences:
        for ids, mask, score in zip(
            e.rollouts.completion_ids, e.rollouts.completion_mask, e.scores.scores, strict=True
        ):
            rows.append((ids[mask], score))
    assert len(rows) == len(batch.mask)
    for (ids, score), batch_ids, mask, batch_score in zip(
        rows, batch.completion_ids, batch.mask, batch.scores, strict=True
    ):
        assert torch.equal(batch_ids[mask], ids) and batch_score == score


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, o, s, f: (replace(r, version=3), o, s, f), "version 3"),
        (lambda r, o, s, f: (r, replace(o, key=(0, 1)), s, f), r"joined with the pass of \(0, 1\)"),
        (lambda r, o, s, f: (r, o, replace(s, key=(0, 1)), f), r"scores of \(0, 1\)"),
        (lambda r, o, s, f: (r, o, s, replace(f, key=(4, 0))), r"reference of \(4, 0\)"),
        (lambda r, o, s, f: (r, o, replace(s, scores=s.scores[:-1]), f), "scores"),
        (lambda r, o, s, f: (r, replace(o, logprobs=o.logprobs[:, :-1]), s, f), "old ones"),
        (lambda r, o, s, f: (r, o, replace(s, scores=s.scores * torch.nan), f), "a score is not finite"),
        (lambda r, o, s, f: (r, o, replace(s, scores=s.scores / 0), f), "a score is not finite"),
        (lambda r, o, s, f: (r, replace(o, values=o.values * torch.nan), s, f), "a value is not finite"),
        (lambda r, o, s, f: (r, o, s, replace(f, logprobs=f.logprobs[:, :-1])), "reference log-probabilities"),
        (
            lambda r, o, s, f: (r, o, s, replace(f, logprobs=f.logprobs - torch.inf)),
            "reference log-probability is not finite",
        ),
    ],
)
def test_update_rejects_parts_that_do_not_belong_together(learner, start, parts, change, message):
    with pytest.raises(ValueError, match=message):
        update(learner, start, [*change(*parts[:4]), *parts[4:]])


def test_update_rejects_wrong_version(learner, start, parts):
    with pytest.raises(ValueError, match="version"):
        learner.update(start[0], replace(start[1], version=1), *parts)


def test_a_completion_of_one_eos_is_a_valid_sample(learner, start, parts):
    """Bug 4: an empty summary crashed the step."""
    rollouts, old, scores, reference = parts[:4]
    mask = torch.zeros_like(rollouts.completion_mask)
    mask[:, 0] = True
    ids = torch.full_like(rollouts.completion_ids, 0).masked_fill(mask, learner.policy.network.config.eos_token_id)
    empty = replace(rollouts, completion_ids=ids, completion_mask=mask, texts=("",) * len(ids))
    learner.policy.load(start[0], cached=False)
    with torch.no_grad():
        logprobs = learner.policy(empty.unit.prompt_ids, empty.unit.prompt_mask, ids).logprobs
    empty = replace(empty, logprobs=logprobs)
    policy, _, metrics = update(
        learner, start, [empty, replace(old, logprobs=logprobs), scores, replace(reference, logprobs=logprobs)]
    )
    assert metrics["tokens/completions_mean"] == 1
    assert all(t.isfinite().all() for t in policy.adapter.values())


def test_a_padded_position_may_hold_anything(learner, start, parts):
    """What the reference says of padding is never read."""
    changed = []
    for rollouts, old, scores, reference in zip(*[iter(parts)] * 4, strict=True):
        junk = reference.logprobs.masked_fill(~rollouts.completion_mask, torch.nan)
        changed += [rollouts, old, scores, replace(reference, logprobs=junk)]
    assert tensors_sha256(update(learner, start, changed)[0].adapter) == tensors_sha256(
        update(learner, start, parts)[0].adapter
    )
