"""Pairs to learn from and pairs to measure by."""

import random
from dataclasses import replace

import pytest

from configs.errors import UsageError
from learner.preferences.pairs import Preference
from tests.preferences import simulated
from workers.preferences.splits import part, resampled, split


def prompts(pairs):
    return {pair.prompt for pair in pairs}


def test_no_prompt_is_on_both_sides_and_the_order_of_the_file_does_not_matter():
    pairs = simulated(50, annotators=2)
    found = split(pairs, None, 0.2, seed=1)
    assert not prompts(found.train) & prompts(found.held_out)
    assert len(found.held_out) == 20 and len(found.train) == 80
    mixed = random.Random(0).sample(pairs, len(pairs))
    assert set(split(mixed, None, 0.2, seed=1).held_out) == set(found.held_out)
    assert set(split(pairs, None, 0.2, seed=2).held_out) != set(found.held_out)


def test_pairs_of_one_text_twice_are_left_out_and_counted():
    pairs = simulated(20)
    same = [Preference("new", "text", " text "), replace(pairs[0], rejected=pairs[0].chosen)]
    found = split([*pairs, *same], None, 0.2, seed=0)
    assert found.same == 2 and len(found.train) + len(found.held_out) == 20


def test_a_file_of_held_out_pairs_keeps_its_prompts_out_of_training():
    pairs = simulated(40)
    found = split(pairs, pairs[:10], 0.2, seed=0)
    assert found.held_out == tuple(pairs[:10]) and found.train == tuple(pairs[10:]) and found.shared == 10


def test_a_larger_part_contains_a_smaller_one():
    pairs = simulated(40, annotators=2)
    quarter, half = (part(pairs, share, seed=0) for share in (0.25, 0.5))
    assert len(quarter) == 20 and len(half) == 40 and set(quarter) < set(half)
    assert len(prompts(quarter)) == 10


def test_a_bootstrap_is_of_as_many_pairs_by_seed():
    pairs = simulated(40)
    drawn = resampled(pairs, 1)
    assert len(drawn) == 40 and 15 < len(set(drawn)) < 35
    assert drawn == resampled(pairs, 1) != resampled(pairs, 2)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (simulated(5), "4 pairs to learn from that are no ties, at least 8 are needed"),
        ([], "0 pairs to learn from"),
        ([replace(pair, tie=True) for pair in simulated(40)], "all 40 pairs are ties"),
        ([replace(pair, prompt="one") for pair in simulated(40)], "all 40 pairs have one prompt"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(pairs, expected):
    with pytest.raises(UsageError, match=expected):
        split(pairs, None, 0.2, seed=0)


def test_pairs_that_are_all_held_out_leave_nothing_to_learn_from():
    pairs = simulated(40)
    with pytest.raises(UsageError, match=r"0 pairs to learn from that are no ties \(40 more have prompts"):
        split(pairs, pairs, 0.2, seed=0)
