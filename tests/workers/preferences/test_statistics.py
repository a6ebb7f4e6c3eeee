"""What judgements say, against numbers computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.workers.preferences.answers import judgement
from workers.preferences.estimates import decided_to_show, fewest_to_show, share
from workers.preferences.judgements import Judgement
from workers.preferences.statistics import judge
from workers.preferences.win_rates import length_controlled

RUN_WINS = [judgement(f"w{i}", outcome="second") for i in range(30)]
BASE_WINS = [judgement(f"l{i}") for i in range(20)]


def about(value):
    return pytest.approx(value, abs=1e-3)


def test_win_rate_is_a_mean_over_questions_with_a_tie_as_half_a_win():
    judgements = [
        judgement("1", outcome="second"),
        judgement("2", outcome="first"),
        judgement("3", outcome="tie"),
        judgement("4", outcome="second"),
        judgement("4", "bob", outcome="tie"),
        judgement("5", outcome="skip"),
        judgement("1", outcome="first", repeat=1),
    ]
    [found] = judge(judgements).comparisons
    assert (found.policy, found.against) == ("run", "base")
    assert (found.wins, found.ties, found.losses) == (1.5, 1.5, 1)
    assert found.win_rate.value == (1 + 0 + 0.5 + 0.75) / 4 and found.win_rate.count == 4
    assert found.decided == 3 and found.more_questions == 255  # (194 - 3) * 4 / 3


def test_intervals_come_from_whole_questions():
    """Ten people who say the same of each of 100 questions are no more evidence than one: 60% +- 1.96 * 4.9 points."""
    wins = [judgement(f"{i}", outcome="second" if i < 60 else "first") for i in range(100)]
    once = judge(wins).comparisons[0].win_rate
    often = judge([replace(j, annotator=f"{who}") for j in wins for who in range(10)]).comparisons[0].win_rate
    assert often == once
    assert (once.low, once.high) == (pytest.approx(0.504, abs=0.012), pytest.approx(0.696, abs=0.012))


def test_shares_have_wilsons_interval():
    assert share(0, 0) is None
    found = share(2, 3)
    assert (found.value, found.low, found.high) == (2 / 3, about(0.2077), about(0.9385))


def test_questions_to_show_a_preference():
    assert decided_to_show() == 194  # ((0.98 + 0.8416 * 0.4899) / 0.1)^2 = 193.8
    assert fewest_to_show() == 6  # 2 * 0.5^6 = 0.031
    assert judge([judgement(f"{i}", outcome="second") for i in range(194)]).comparisons[0].more_questions == 0
    assert judge([judgement(outcome="tie")]).comparisons[0].more_questions == 194


@pytest.mark.parametrize(("count", "preferred"), [(5, None), (6, "run")])
def test_a_unanimous_verdict_takes_six_questions(count, preferred):
    found = judge([judgement(f"{i}", outcome="second") for i in range(count)])
    assert found.comparisons[0].win_rate.value == 1 and found.comparisons[0].preferred == preferred
    assert found.strengths["run"].value == about(1)


def test_a_preference_that_does_not_show_is_none():
    assert judge([*RUN_WINS, *BASE_WINS]).comparisons[0].preferred is None
    assert judge([*RUN_WINS, *BASE_WINS[:5]]).comparisons[0].preferred == "run"
    assert judge([*RUN_WINS[:5], *BASE_WINS]).comparisons[0].preferred == "base"


def test_policies_are_compared_on_evaluation_questions_if_there_are_any():
    wins = [replace(j, role="evaluation") for j in RUN_WINS]
    known = [replace(j, pair=f"k{j.pair}", role="qualification", expected="first") for j in BASE_WINS]
    assert judge([*wins, *BASE_WINS, *known]).comparisons[0].win_rate.value == 1
    assert judge([*wins, *BASE_WINS]).compared == "evaluation" and judge(BASE_WINS).compared == "training"


def turned(j: Judgement) -> Judgement:
    other = {"first": "second", "second": "first"}
    return replace(j, first=j.second, second=j.first, first_policy=j.second_policy, second_policy=j.first_policy,
                   outcome=other.get(j.outcome, j.outcome), swapped=not j.swapped,
                   criteria={name: other.get(said, said) for name, said in j.criteria.items()})  # fmt: skip


def test_the_order_in_a_campaign_changes_no_comparison():
    judgements = [replace(j, second=j.second * (i % 5), criteria={"harm": j.outcome if i % 2 else "tie"})
                  for i, j in enumerate([*RUN_WINS, *BASE_WINS])]  # fmt: skip
    mixed = [turned(j) if i % 3 else j for i, j in enumerate(judgements)]
    one, other = judge(judgements), judge(mixed)
    assert one.comparisons == other.comparisons and one.strengths == other.strengths
    assert one.first_position == other.first_position
    assert one.comparisons[0].criteria["harm"].value == pytest.approx(0.5 + (15 - 10) / 50 / 2)


def test_bradley_terry_finds_strengths_of_4_2_1():
    """Strengths 4:2:1 win 2:1, 2:1 and 4:1 exactly: those of `x` and `y` against base are 1/3 and 1/5."""
    wins = {("base", "x"): (20, 10), ("x", "y"): (20, 10), ("base", "y"): (24, 6)}
    judgements = [
        judgement(
            f"{first}{second}{i}", first_policy=first, second_policy=second, outcome="first" if i < won else "second"
        )
        for (first, second), (won, lost) in wins.items()
        for i in range(won + lost)
    ]
    found = judge(judgements)
    assert {name: e.value for name, e in found.strengths.items()} == {"base": 0.5, "x": about(1 / 3), "y": about(0.2)}
    assert [(c.policy, c.against, c.win_rate.value) for c in found.comparisons] == [
        ("x", "base", 1 / 3), ("y", "x", 1 / 3), ("y", "base", 0.2)
    ]  # fmt: skip
    always = [replace(j, second_policy="z", pair=f"z{j.pair}") for j in RUN_WINS]
    assert judge([*judgements, *always]).strengths["z"].value > 0.999
    apart = [replace(j, first_policy="u", second_policy="v", pair=f"uv{j.pair}") for j in RUN_WINS]
    assert set(judge([*judgements, *apart]).strengths) == {"base", "x", "y"}


def test_the_length_controlled_rate_is_that_at_equal_lengths():
    """Of a longer completion 90% win, of a shorter one 60%: logit = (2.1972 + 0.4055) / 2 = 1.3013 in the middle."""
    scores = np.array([1] * 27 + [0] * 3 + [1] * 6 + [0] * 4, float)
    longer = np.array([1] * 30 + [-1] * 10, float)
    # tanh(1) in place of 1 scales b alone.
    assert length_controlled(scores, longer) == about([0.7861])
    assert length_controlled(scores, np.zeros(40)) == about([33 / 40])
    weights = np.array([[3, 1], [30, 10], [1, 0]])  # of the third, all is explained by length as well as by the policy
    assert length_controlled(np.array([0.8, 0.2]), np.array([1.0, -1]), weights)[:2] == about([0.5, 0.5])
    assert 0.99 < length_controlled(np.ones(5), np.arange(5.0))[0] <= 1


# Three annotators, four questions; skips and repeats do not count.
VOTES = {"1": ("first", "first", "skip"), "2": ("second", "first", "second"), "3": ("tie", "tie", "tie"),
         "4": ("skip", "tie", "first")}  # fmt: skip
ANSWERS = [judgement(pair, who, said) for pair, given in VOTES.items() for who, said in zip("abc", given, strict=True)]


def test_alpha_matches_hand_computed():
    """Observed disagreement 4 of 10 values; expected (100 - 16 - 4 - 16) / 9: alpha = 1 - 4 / 7.11 = 0.4375."""
    found = judge([*ANSWERS, judgement("1", "a", "second", repeat=1)]).alpha
    assert (found.value, found.count) == (0.4375, 4) and found.low < found.value < found.high
    assert judge([judgement(), judgement(annotator="bob")]).alpha is None  # everybody says the same
    assert judge(RUN_WINS).alpha is None  # nobody answers what another answered


def test_leave_one_out_is_agreement_with_the_majority_of_the_others():
    people = {person.name: person.leave_one_out for person in judge(ANSWERS).annotators}
    # a: 1 with b (yes), 2 with a split of b and c (not counted), 3 (yes). b: yes, 2: no, 3: yes, 4: no. c: 3, 4.
    assert {name: (round(e.value * e.count), e.count) for name, e in people.items()} == {
        "a": (2, 2), "b": (2, 4), "c": (1, 2)
    }  # fmt: skip
    assert judge(ANSWERS).leave_one_out == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_first_position_counts_what_was_shown_first():
    shown = [judgement("1"), judgement("2", outcome="second", swapped=True), judgement("3", outcome="second"),
             judgement("4", outcome="tie"), judgement("5", role="qualification", expected="first")]  # fmt: skip
    assert (judge(shown).first_position.value, judge(shown).first_position.count) == (2 / 3, 3)
    assert judge([replace(j, swapped=False) for j in shown]).first_position is None


def test_what_is_known_of_an_annotator():
    given = [
        judgement("1", seconds=1.0),
        judgement("1", repeat=1, seconds=9.0),
        judgement("2", outcome="tie", seconds=2.0),
        judgement("2", outcome="first", repeat=1),
        judgement("3", outcome="skip"),
        judgement("3", repeat=1),  # was skipped the first time
        judgement("4", role="qualification", expected="first"),
        judgement("5", role="qualification", expected="tie"),
        judgement("6", role="qualification", expected="tie", outcome="skip"),
    ]
    [person] = judge(given).annotators
    assert (person.answers, person.skipped, person.seconds) == (7, 2, 2.0)
    assert (person.self_agreement.value, person.self_agreement.count) == (0.5, 2)
    assert (person.qualified.value, person.qualified.count) == (0.5, 2)
    assert person.leave_one_out is None


def test_nothing_is_known_of_no_answers():
    found = judge([judgement(outcome="skip")])
    assert (found.answers, found.skipped, found.comparisons, found.strengths, found.alpha) == (0, 1, [], {}, None)
    assert judge([]).annotators == []
