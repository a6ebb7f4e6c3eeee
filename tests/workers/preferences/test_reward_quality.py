"""The measures of a reward model, against numbers computed by hand and against simulated annotators."""

import math
from dataclasses import replace

import numpy as np
import pytest

from learner.preferences.pairs import Preference
from tests.preferences import simulated
from workers.preferences.ceiling import accuracy_ceiling
from workers.preferences.reward_quality import (
    ScoredPairs,
    accuracy,
    calibration,
    length_preference,
    spread,
    temperature,
)


def scored(gaps, ties=(), prompts=None):
    pairs = [Preference(f"p{prompts[i] if prompts else i}", "ab", "a", i in ties) for i in range(len(gaps))]
    return ScoredPairs(pairs, np.array(gaps, float), np.zeros(len(gaps)))


def test_accuracy_leaves_ties_out_and_counts_equal_scores_half():
    found = accuracy(scored([1, 2, -1, 0, 5], ties={4}))
    assert found["accuracy"] == (1 + 1 + 0 + 0.5) / 4 and found["pairs"] == 4 and found["ties"] == 1


def test_the_interval_is_wilsons_for_as_many_trials_as_prompts():
    found = accuracy(scored([1] * 8 + [-1] * 2))
    assert found["interval"] == pytest.approx([0.4902, 0.9433], abs=1e-4)  # 8 of 10
    twice = accuracy(scored([1] * 8 + [-1] * 2, prompts=[0, 1, 2, 3, 4] * 2))
    assert twice["prompts"] == 5 and twice["interval"][0] < found["interval"][0]


def test_brier_and_ece_are_those_computed_by_hand():
    two, one = math.log(4), math.log(1.5)  # confidence 0.8 and 0.6
    found = calibration(scored([two, two, two, -two, one, -one]))
    assert found["brier"] == pytest.approx((3 * 0.2**2 + 0.8**2 + 0.4**2 + 0.6**2) / 6)
    bins = [(b["confidence"], b["accuracy"], b["pairs"]) for b in found["bins"]]
    assert bins == [pytest.approx((0.6, 0.5, 2)), pytest.approx((0.8, 0.75, 4))]
    assert found["ece"] == pytest.approx((2 * 0.1 + 4 * 0.05) / 6)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_makes_up_for_a_model_that_is_too_sure(factor):
    draw = np.random.default_rng(0)
    true = draw.normal(0, 1.5, 40_000)
    right = draw.random(40_000) < 1 / (1 + np.exp(-true))
    gaps = factor * np.where(right, true, -true)
    found = calibration(scored(gaps))
    assert found["temperature"] == pytest.approx(factor, rel=0.05)
    assert found["ece_scaled"] < 0.01
    assert found["ece"] > 0.04 or factor == 1


def test_there_is_no_temperature_where_every_pair_is_ranked_correctly():
    assert temperature(np.array([1.0, 2.0])) is None
    assert "brier_scaled" not in calibration(scored([1.0, 2.0]))
    assert temperature(np.array([-1.0, -2.0])) is None, "nor where every one is ranked wrongly"


@pytest.mark.parametrize("flips", [0.1, 0.2])
def test_the_ceiling_is_the_share_of_answers_that_are_no_errors(flips):
    found = accuracy_ceiling(simulated(700, flips=flips, annotators=3))
    low, high = found["interval"]
    assert low <= 1 - flips <= high and high - low < 0.08 and found["questions"] == 700
    assert found["agreement"] == pytest.approx((1 - flips) ** 2 + flips**2, abs=0.03)


def test_the_ceiling_is_unknown_without_two_named_annotators():
    pairs = simulated(5, annotators=2)
    assert accuracy_ceiling(pairs)["accuracy"] == 1
    assert accuracy_ceiling([replace(pair, annotator=None) for pair in pairs]) is None
    assert accuracy_ceiling([replace(pair, annotator="one") for pair in pairs]) is None, (
        "who repeats an answer agrees with himself"
    )
    assert accuracy_ceiling([replace(pair, tie=True) for pair in pairs]) is None


def test_annotators_who_disagree_by_chance_leave_a_ceiling_of_one_half():
    pairs = [Preference("p", "a", "b", annotator="one"), Preference("p", "b", "a", annotator="two")]
    assert accuracy_ceiling(pairs)["accuracy"] == 0.5


def test_preference_for_length_is_told_of_people_and_of_the_model():
    pairs = [Preference("p", "long", "s"), Preference("q", "s", "long"), Preference("r", "long", "s"),
             Preference("s", "same", "four"), Preference("t", "longer", "s", tie=True)]  # fmt: skip
    found = length_preference(ScoredPairs(pairs, np.array([4.0, 4, 4, 1, 0]), np.array([1.0, 1, 1, 0, 0])))
    assert found["by_people"] == pytest.approx(2 / 3)
    assert found["by_model"] == pytest.approx(2 / 3), "it scores the chosen one higher, whether it is long or not"
    assert length_preference(scored([1.0, -1.0]))["by_model"] == 0.5
    constant = ScoredPairs(pairs[3:4], np.array([1.0]), np.array([0.0]))
    assert length_preference(constant) == {"by_people": None, "by_model": None, "correlation": None}


def test_the_spread_is_of_all_completions():
    assert spread(scored([2.0, 2.0])) == {"mean": 1.0, "std": 1.0}
