"""Sampling: where a completion ends, and what decides its tokens."""

import pytest
import torch

from cluster.plan import make_unit
from configs.schema import Rollout
from learner.policy import Encoded
from tests.conftest import small_config
from workers.rollout import RolloutWorker
from workers.sampling import draw, sample


class Script:
    """A decoder that says what it is told, row by row: shows where completions end, whatever a model would do."""

    start_token_id = 0

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


def scripted(unit, rows, max_new_tokens=6):
    encoded = Encoded(torch.zeros(*unit.prompt_ids.shape, 1), unit.prompt_mask, torch.arange(len(unit.rows)))
    ids, mask, _ = sample(Script(rows), encoded, unit, Rollout(max_new_tokens=max_new_tokens), ends=[1])
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
    worker = RolloutWorker(small_config(rollout__max_new_tokens=48))
    rollouts, _ = worker.generate(unit, start[0])
    with torch.no_grad():
        forced = worker.policy(unit.prompt_ids, unit.prompt_mask, rollouts.completion_ids).logprobs
    mask = rollouts.completion_mask
    torch.testing.assert_close(rollouts.logprobs[mask], forced[mask], atol=1e-4, rtol=1e-4)
    eos = worker.tokenizer.eos_token_id
    for text, ids, row in zip(rollouts.texts, rollouts.completion_ids, mask, strict=True):
        assert ids[row].tolist().index(eos) == row.sum() - 1, "these end by themselves"
        assert text == worker.tokenizer.decode(ids[row][:-1]) and "</s>" not in text


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
