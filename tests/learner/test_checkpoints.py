"""A checkpoint is what was written, to the bit, or it is not loaded."""

import os
import random
import shutil

import pytest
import torch

from learner.checkpoints import DamagedCheckpoint, checkpoints, load_checkpoint, load_newest, save_checkpoint
from learner.rewards import ScoreMoments
from learner.types import LearnerState, PolicyState, TrainState
from tests.operations import Operations, watched


def state(version: int) -> TrainState:
    weights = {"lora_A.weight": torch.full((3, 5), version / 7), "lora_B.weight": torch.zeros(5, 3)}
    moments = {"lora_A/exp_avg": torch.rand(3, 5), "lora_A/step": torch.tensor(float(version))}
    head = {"weight": torch.rand(1, 5), "bias": torch.zeros(1)}
    learner = LearnerState(version, moments, 0.1 + version / 3, ScoreMoments(8.0, 1 / 3, 2 / 7), rejected=1)
    policy = PolicyState(version, weights, head)
    before = PolicyState(version - 1, {name: t + 1 for name, t in weights.items()}, head)
    return TrainState(policy, learner, sampler=before if version % 2 else policy)  # odd ones as with run_ahead


def same(a: TrainState, b: TrainState) -> bool:
    groups = [(a.policy.adapter, b.policy.adapter), (a.policy.value_head, b.policy.value_head),
              (a.sampler.adapter, b.sampler.adapter), (a.learner.moments, b.learner.moments)]  # fmt: skip
    tensors = all(x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x) for x, y in groups)
    numbers = [(s.version, s.sampler.version, s.learner.version,
                s.learner.kl_coef, s.learner.score_moments, s.learner.rejected)
               for s in (a, b)]  # fmt: skip
    return tensors and numbers[0] == numbers[1]


@pytest.fixture
def two(tmp_path):
    """A folder with the checkpoints of steps 1 and 2."""
    states = state(1), state(2)
    for each in states:
        save_checkpoint(tmp_path / "checkpoints", each, keep=3)
    return tmp_path / "checkpoints", states


def test_a_state_comes_back_to_the_bit(two):
    folder, states = two
    assert same(load_newest(folder, print), states[1])


def test_the_newest_are_kept(tmp_path):
    for version in range(1, 13):
        save_checkpoint(tmp_path, state(version), keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000012", "step-000011"]


def test_nothing_is_loaded_where_there_is_nothing(tmp_path):
    assert load_newest(tmp_path / "none", print) is None


def damage(path, chance: random.Random) -> str:
    """Change one file: a byte, its end, or all of it."""
    file = chance.choice(sorted(path.iterdir()))
    data = bytearray(file.read_bytes())
    match kind := chance.choice(["flip", "flip", "flip", "cut", "grow", "remove"]):
        case "flip":
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case "cut":
            del data[chance.randrange(len(data)) :]
        case "grow":
            data += b" "
        case "remove":
            file.unlink()
            return f"{kind} {file.name}"
    file.write_bytes(data)
    return f"{kind} {file.name}"


def test_500_corruptions_are_all_seen_and_the_one_before_is_used(two, tmp_path):
    folder, states = two
    whole, chance = tmp_path / "whole", random.Random(5)
    shutil.copytree(folder / "step-000002", whole)
    for _ in range(500):
        what, said = damage(folder / "step-000002", chance), []
        loaded = load_newest(folder, said.append)
        assert same(loaded, states[0]), what
        assert len(said) == 1 and "step-000002 is damaged" in said[0]
        shutil.rmtree(folder / "step-000002")
        shutil.copytree(whole, folder / "step-000002")
    assert same(load_newest(folder, print), states[1])


def test_a_checkpoint_of_another_step_is_not_taken_for_this_one(two):
    folder, _ = two
    shutil.rmtree(folder / "step-000001")
    (folder / "step-000002").rename(folder / "step-000001")
    with pytest.raises(DamagedCheckpoint, match="it holds step 2"):
        load_checkpoint(folder / "step-000001")


def count(folder) -> int:
    """File operations of a save that also removes an old checkpoint."""
    with watched(Operations()) as operations:
        save_checkpoint(folder, state(3), keep=2)
    return operations.count


@pytest.mark.parametrize("act", ["kill", "full", "denied", "short"])
def test_whatever_goes_wrong_at_any_file_operation_a_whole_state_is_left(tmp_path, act):
    save_checkpoint(tmp_path / "count", state(1), keep=2)
    save_checkpoint(tmp_path / "count", state(2), keep=2)
    total = count(tmp_path / "count")
    assert total >= 15
    versions = []
    for at in range(total):
        folder = tmp_path / f"{act}-{at}"
        before = state(2)
        save_checkpoint(folder, state(1), keep=2)
        save_checkpoint(folder, before, keep=2)
        after, told = state(3), run(act, at, folder, state(3) if act != "kill" else None)
        loaded = load_newest(folder, print)
        assert loaded.version in (2, 3)
        assert same_policy(loaded, before if loaded.version == 2 else after)
        assert told or loaded.version == 3, "a save that failed says so"
        versions.append(loaded.version)
        save_checkpoint(folder, after, keep=2)  # and the next one is not hindered by what was left
        assert load_newest(folder, print).version == 3
    assert 2 in versions and 3 in versions


def same_policy(a: TrainState, b: TrainState) -> bool:
    return all(torch.equal(a.policy.adapter[name], b.policy.adapter[name]) for name in b.policy.adapter)


def run(act: str, at: int, folder, given: TrainState | None) -> bool:
    """Save with one operation going wrong; whether that was told."""
    if act == "kill":
        child = os.fork()
        if not child:
            with watched(Operations(act, at)):
                save_checkpoint(folder, state(3), keep=2)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    try:
        with watched(Operations(act, at)):
            save_checkpoint(folder, given, keep=2)
    except OSError:
        return True
    return False
