"""An update in parts: whoever computes which, and in whatever shapes, it is the same update."""

from dataclasses import replace

import torch

from learner.adapter import tensors_sha256
from learner.learner import Learner
from learner.tensors import MOST_PADDING, buckets
from learner.update import MicrobatchKey, minibatch_keys, run_update
from tests.conftest import settings_of, small_config
from workers.reference import ReferenceWorker

SPLIT = {"algorithm__microbatch_size": 1, "algorithm__ppo_epochs": 2}


def keys_of(config):
    return minibatch_keys(config.algorithm, config.rollout.batch_size)


def by_turns(learners):
    """Each call goes to another learner, as a pool would have it."""
    turn = iter(range(10**6))
    return lambda method, *args, results=1: getattr(learners[next(turn) % len(learners)], method)(*args)


def test_several_learners_give_the_bits_of_one(start, parts):
    config = small_config(**SPLIT)
    alone = Learner(settings_of(config, "learner")).update(*start, *parts)
    for count in (1, 3):
        policy, state, metrics = run_update(
            by_turns([Learner(settings_of(config, "learner")) for _ in range(count)]), keys_of(config), *start, parts
        )
        assert tensors_sha256(policy.adapter) == tensors_sha256(alone[0].adapter)
        assert tensors_sha256(state.moments) == tensors_sha256(alone[1].moments) and metrics == alone[2]


def test_places_are_all_microbatches_of_all_epochs():
    config = small_config(rollout__batch_size=8, algorithm__minibatch_size=5, algorithm__microbatch_size=2)
    assert [len(places) for places in keys_of(config)] == [3, 2] * config.algorithm.ppo_epochs
    assert keys_of(config)[1] == [MicrobatchKey(0, 1, 0), MicrobatchKey(0, 1, 1)]


def test_every_sequence_is_learned_from_once_an_epoch(start, parts):
    """Dropped samples leave the last places empty."""
    dropped = [
        replace(p, dropped=torch.tensor([True, False, False, False])) if hasattr(p, "dropped") else p for p in parts
    ]
    config = small_config(**SPLIT)
    learner = Learner(settings_of(config, "learner"))
    prepared, weights, _ = learner.prepare(*start, *dropped)
    assert len(prepared.batch.mask) == 6
    gradients = [learner.gradient(prepared, weights, place) for places in keys_of(config) for place in places]
    assert sum(bool(g.tensors) for g in gradients) == 6 * 2
    assert [bool(g.tensors) for g in gradients] == ([True] * 6 + [False] * 2) * 2


def test_completions_of_one_prompt_share_a_minibatch():
    config = small_config(algorithm__type="grpo", algorithm__group_size=2, algorithm__minibatch_size=4)
    learner = Learner(settings_of(config, "learner"))
    batch = type("Batch", (), {"mask": torch.ones(8, 1), "groups": torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])})
    for epoch in range(3):
        chosen = learner._epoch_minibatches(batch, step=0, epoch=epoch)
        assert sorted(torch.cat(chosen).tolist()) == list(range(8))
        assert all(len(batch.groups[rows].unique()) == 2 for rows in chosen)


def test_an_update_that_was_ended_changes_nothing_further(start, parts):
    config = small_config(**SPLIT)
    learner = Learner(settings_of(config, "learner"))
    prepared, weights, begun = learner.prepare(*start, *parts)
    for ended in (replace(weights, strayed=True), replace(weights, failed="nan")):
        gradient = learner.gradient(prepared, ended, MicrobatchKey(1, 0, 0))
        after, same = learner.apply(prepared, ended, begun, MicrobatchKey(1, 0, 0), gradient)
        assert not gradient.tensors and after.policy is weights.policy and same is begun


def test_buckets_hold_every_row_and_little_padding():
    lengths = torch.tensor([100, 3, 98, 97, 40, 41, 9, 100])
    found = buckets(lengths)
    assert sorted(torch.cat(found).tolist()) == list(range(8))
    for rows in found:
        assert int((lengths[rows].max() - lengths[rows]).sum()) <= MOST_PADDING
    assert [rows.tolist() for rows in found] == [[0, 7, 2, 3], [5, 4], [6, 1]]


def test_a_pass_by_buckets_is_the_pass(learner, start, parts):
    """Prompts and completions of any lengths; the encoder reads a prompt that several share once."""
    rollouts = parts[0]
    unit, policy = rollouts.unit, learner.policy
    policy.load(start[0], cached=False)
    ids, mask = unit.prompt_ids[[0, 0, 1, 2]], unit.prompt_mask[[0, 0, 1, 2]].clone()
    mask[3, 60:] = False
    completion_mask = torch.arange(rollouts.completion_ids.shape[1]) < torch.tensor([[12], [1], [5], [12]])
    encoded = policy.encode(ids, mask)
    assert len(encoded.states) == 3 and encoded.prompt_index.tolist() == [0, 0, 1, 2]
    recalled = policy.teacher_forced(encoded, replace(rollouts, completion_mask=completion_mask), full=True)
    with torch.no_grad():
        whole = policy(ids, mask, rollouts.completion_ids)
    for ours, theirs in zip(recalled, whole, strict=True):
        torch.testing.assert_close(ours[completion_mask], theirs[completion_mask], atol=1e-5, rtol=1e-5)


def test_the_reference_recalls_to_the_bit_what_the_sampler_did(parts, start):
    """Law 3: with the policy equal to the reference, KL is 0, whatever the lengths."""
    for rollouts, old, _, reference in zip(*[iter(parts)] * 4, strict=True):
        again = ReferenceWorker(settings_of(small_config(), "reference")).logprobs(rollouts, start[0])
        assert torch.equal(old.logprobs, reference.logprobs) and torch.equal(again.logprobs, old.logprobs)
