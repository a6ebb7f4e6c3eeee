"""Sampling: where a completion ends, and what decides its tokens."""

import json
import shutil

import pytest
import torch

from cluster.plan import make_unit
from configs.rollout import RolloutConfig
from learner.policy import Encoded
from tests.conftest import settings_of, small_config
from workers.rollout.sampling import draw, reached_end, sample
from workers.rollout.worker import RolloutWorker


class Script:
    """A decoder that says what it is told, row by row: shows where completions end, whatever a model would do."""

    def __init__(self, rows):
        self.rows, self.step = rows, -1

    def begin(self, encoded, length):
        return self

    def __call__(self, token):
        self.step += 1
        logits = torch.full((len(self.rows), 10), -1e9)
        for i, row in enumerate(self.rows):
            logits[i, row[self.step] if self.step < len(row) else 9] = 0
        return logits

    def keep(self, rows):
        self.rows = [self.rows[i] for i in rows.tolist()]


def encoded_of(unit):
    size = len(unit.rows)
    states = torch.zeros(*unit.prompt_ids.shape, 1)
    return Encoded(states, unit.prompt_mask, torch.arange(size), torch.zeros(size, 1, dtype=torch.long))


def scripted(unit, rows, max_new_tokens=6):
    encoded = encoded_of(unit)
    ids, mask, *_ = sample(Script(rows), encoded, unit, RolloutConfig(max_new_tokens=max_new_tokens), ends=[1])
    return ids.tolist(), mask.tolist()


@pytest.fixture(scope="module")
def two(prompts):
    return make_unit(prompts, [0, 1], (0, 0), seed=0)


def test_mask_is_true_through_eos(two):
    ids, mask = scripted(two, [[5, 6, 1], [7, 1, 8]])
    assert ids == [[5, 6, 1], [7, 1, 0]]
    assert mask == [[True, True, True], [True, True, False]]


def test_an_empty_summary_is_one_eos(two):
    """Bug 4: it crashed the step."""
    assert scripted(two, [[1], [5, 1]]) == ([[1, 0], [5, 1]], [[True, False], [True, True]])


def test_a_pad_token_inside_a_completion_counts(two):
    """The mask is made at generation and not rebuilt from the pad id."""
    assert scripted(two, [[5, 0, 6, 1], [0, 1]])[1] == [[True] * 4, [True, True, False, False]]


def test_a_completion_at_the_limit_keeps_all_its_tokens(two):
    """Bug 5: the start token took the place of a sampled one."""
    ids, mask = scripted(two, [[5, 6, 7], [8, 8, 8]], max_new_tokens=3)
    assert ids == [[5, 6, 7], [8, 8, 8]] and all(map(all, mask))


def test_the_seed_decides_the_tokens(rollout_worker, start, prompts):
    unit, another = (make_unit(prompts, range(60), (0, 0), seed=seed) for seed in (11, 12))
    first, again, other = (rollout_worker.summarize(u, start[0]) for u in (unit, unit, another))
    assert torch.equal(first.completion_ids, again.completion_ids) and first.texts == again.texts
    assert first.texts != other.texts
    assert first.version == start[0].version


def test_texts_are_what_the_tokens_say_without_special_ones(start, unit):
    """Bugs 8 and 14: special tokens reached the reward; text was tokenized again for the policy."""
    worker = RolloutWorker(settings_of(small_config(rollout__max_new_tokens=48), "rollout"))
    rollouts, _ = worker.generate(unit, start[0])
    with torch.no_grad():
        forced = worker.policy(unit.prompt_ids, unit.prompt_mask, rollouts.completion_ids).logprobs
    mask = rollouts.completion_mask
    torch.testing.assert_close(rollouts.logprobs[mask], forced[mask], atol=1e-4, rtol=1e-4)
    eos = worker.tokenizer.eos_token_id
    for text, ids, row in zip(rollouts.texts, rollouts.completion_ids, mask, strict=True):
        assert ids[row].tolist().index(eos) == row.sum() - 1, "these end by themselves"
        assert text == worker.tokenizer.decode(ids[row][:-1]) and "</s>" not in text


def test_completions_that_came_to_their_end_are_told_from_those_that_were_cut(start, unit):
    for tokens, ended in [(48, True), (3, False)]:
        rollouts, _ = RolloutWorker(settings_of(small_config(rollout__max_new_tokens=tokens), "rollout")).generate(
            unit, start[0]
        )
        assert rollouts.ended.tolist() == [ended] * 4
    ids, mask = torch.tensor([[5, 6, 1], [7, 2, 0], [1, 0, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    assert reached_end(ids, mask, [1]).tolist() == [True, False, True]
    assert reached_end(ids, mask, [1, 2]).tolist() == [True, True, True]


def test_each_of_several_ends_ends_a_completion(two):
    ids, mask, *_ = sample(
        Script([[5, 6, 1], [7, 2, 8]]), encoded_of(two), two, RolloutConfig(max_new_tokens=6), ends=[1, 2]
    )
    assert ids.tolist() == [[5, 6, 1], [7, 2, 0]] and mask.sum(1).tolist() == [3, 2]


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_where_the_tokenizer_has_no_end_the_models_own_counts(file, tmp_path, start, unit):
    """Summaries ran to the limit, with trash after the sentence."""
    folder = tmp_path / "policy"
    shutil.copytree("quickstart/policy", folder)
    for name, changes in [
        ("tokenizer_config.json", {"eos_token": None}),
        ("config.json", {"eos_token_id": None}),
        ("generation_config.json", {"eos_token_id": None}),
        (file, {"eos_token_id": [1]}),
    ]:
        known = json.loads((folder / name).read_text())  # fmt: skip
        (folder / name).write_text(json.dumps(known | changes))
    worker = RolloutWorker(settings_of(small_config(policy__model=folder, rollout__max_new_tokens=48), "rollout"))
    assert worker.tokenizer.eos_token_id is None and worker.ends == (1,)
    assert worker.generate(unit, start[0])[0].ended.all()


def test_dropout_stays_off_while_sampling(rollout_worker, start, unit):
    """Bug 6: rollouts after the first step ran with dropout on."""
    for _ in range(2):
        rollout_worker.generate(unit, start[0])
        assert not [m for m in rollout_worker.policy.modules() if m.training]


def test_draw_follows_the_distribution():
    p = torch.tensor([0.5, 0.0, 0.3, 0.2])
    tokens = draw(p.log().repeat(40_000, 1), torch.rand(40_000, generator=torch.Generator().manual_seed(0)))
    frequency = torch.bincount(tokens, minlength=4) / len(tokens)
    assert frequency[1] == 0
    torch.testing.assert_close(frequency, p, atol=0.01, rtol=0)
