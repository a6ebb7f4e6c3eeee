"""Simulated annotators: what is planted is found again."""

import random
from dataclasses import replace

import pytest

from workers.preferences.simulated_annotators import SimulatedAnnotator, SimulatedQuestion, ceiling
from workers.preferences.statistics import judge


def words(prompt, completion, reference):
    return float(len(completion.split()))


def questions(count, lead=None, **more):
    rng = random.Random(0)
    lengths = [(rng.randint(1, 9), rng.randint(1, 9)) if lead is None else (5, 5 + lead) for _ in range(count)]
    return [
        SimulatedQuestion(f"q{i}", "p", "a " * first, "b " * second, "base", "run", swapped=rng.random() < 0.5, **more)
        for i, (first, second) in enumerate(lengths)
    ]


def people(count, **settings):
    return [SimulatedAnnotator(f"{i}", words, **settings) for i in range(count)]


def test_an_answer_depends_on_seed_annotator_and_pair_alone():
    one, other = people(2)
    asked = questions(50)
    answers = [one.answer(question) for question in asked]
    assert answers == [one.answer(question) for question in reversed(asked)][::-1]
    for changed in (other, replace(one, seed=1)):
        assert [j.outcome for j in answers] != [changed.answer(question).outcome for question in asked]
    assert [j.outcome for j in answers] != [one.answer(question, repeat=1).outcome for question in asked]


def test_they_are_called_simulated():
    [one] = people(1)
    answers = [one.answer(question) for question in questions(3)]
    assert {j.annotator for j in answers} == {"simulated-0"} and judge(answers).simulated
    assert not judge([*answers, replace(answers[0], annotator="ann")]).simulated


def test_without_noise_the_utility_decides():
    [oracle] = people(1, temperature=0.0, tie_band=1.0)
    said = {lead: oracle.answer(questions(1, lead)[0]).outcome for lead in (-2, -1, 0, 1, 2)}
    assert said == {-2: "first", -1: "tie", 0: "tie", 1: "tie", 2: "second"}


def test_chances_are_rao_and_kuppers():
    [one] = people(1, temperature=2.0, tie_band=0.5)
    found = one.chances(questions(1, lead=1)[0])
    assert found["second"] == pytest.approx(1 / (1 + 2.718281828 ** (-0.25)))
    assert found["first"] == pytest.approx(1 / (1 + 2.718281828**0.75))
    assert sum(found.values()) == pytest.approx(1) and found["tie"] > 0


def test_a_planted_preference_is_found_with_an_interval_that_holds_it():
    """One word more is 1 / 1.18 in logits: it wins 70%."""
    asked = questions(400, lead=1, role="evaluation")
    found = judge([person.answer(question) for question in asked for person in people(2, temperature=1.1802)])
    [comparison] = found.comparisons
    assert comparison.preferred == "run" and comparison.win_rate.low < 0.7 < comparison.win_rate.high
    assert comparison.win_rate.high - comparison.win_rate.low < 0.08
    none = judge([person.answer(question) for question in questions(400, lead=0) for person in people(1)])
    assert none.comparisons[0].preferred is None


def test_a_planted_position_bias_is_found_and_does_not_tilt_the_comparison():
    asked = questions(600, lead=0)
    found = judge([person.answer(question) for question in asked for person in people(1, position_bias=1.0)])
    assert found.first_position.low < 0.731 < found.first_position.high  # logistic(1)
    assert found.comparisons[0].preferred is None


def test_the_ceiling_is_what_answers_agree_on_average():
    asked, noisy = questions(3000), people(2, temperature=3.0, tie_band=0.5)
    [oracle] = people(1, temperature=0.0)
    expected = ceiling(noisy, asked)
    said = [[person.answer(question).outcome for question in asked] for person in noisy]
    truth = [oracle.answer(question).outcome for question in asked]
    decided = [(a, t) for given in said for a, t in zip(given, truth, strict=True) if "tie" not in (a, t)]
    ties = [a for given in said for a, t in zip(given, truth, strict=True) if t == "tie" != a]
    agreed = (sum(a == t for a, t in decided) + len(ties) / 2) / (len(decided) + len(ties))
    both = [(a, b) for a, b in zip(*said, strict=True) if "tie" not in (a, b)]
    assert expected.oracle == pytest.approx(agreed, abs=0.02)
    assert expected.annotator == pytest.approx(sum(a == b for a, b in both) / len(both), abs=0.03)
    assert expected.oracle > expected.annotator > 0.5


def test_the_ceiling_of_an_oracle_is_1():
    [oracle] = people(1, temperature=0.0)
    found = ceiling([oracle], questions(20, lead=1))
    assert (found.oracle, found.annotator) == (1, 1)
