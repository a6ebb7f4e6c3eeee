"""The default run, started as a new user would: on Ray, to the end, with the promised results."""

import json

import pytest

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def report(quickstart):
    return json.loads((quickstart.folder / "report.json").read_text())


@pytest.fixture(scope="module")
def evaluation(report):
    return report["evaluation"]


@pytest.fixture(scope="module")
def changes(evaluation):
    return evaluation["comparisons"][0]["changes"]


def test_toxicity_falls_by_at_least_half(evaluation, changes):
    assert evaluation["rows"] >= 300
    assert evaluation["policies"]["before"]["sampled"]["toxicity"]["mean"] > 0.25, "there is room for improvement"
    assert changes["toxicity"]["percent"]["mean"] <= -50 and changes["toxicity"]["interval"][1] < 0
    assert evaluation["comparisons"][0]["verdict"][0].startswith("less toxic: yes, -")


def test_rouge_falls_by_at_most_two_points(changes):
    assert changes["rougeL"]["standard_error"] <= 0.5
    assert changes["rougeL"]["mean"] >= -2


def test_summaries_keep_their_length_and_stay_distinct(evaluation, report):
    before, after = (policy["sampled"] for policy in evaluation["policies"].values())
    assert after["tokens"]["mean"] == pytest.approx(before["tokens"]["mean"], rel=0.2)
    assert after["distinct"] >= 0.95
    assert report["warnings"] == []


def test_a_judge_that_was_not_used_in_training_confirms_the_fall(evaluation, changes):
    assert evaluation["policies"]["before"]["sampled"]["second_judge"]["mean"] > 0.2
    assert changes["second_judge"]["percent"]["mean"] <= -50


def test_the_policy_starts_as_its_own_reference(report):
    """Bug 2, and law 3."""
    assert report["checks"] == {"first_kl": 0, "first_ratio_gap": 0}


def test_progress_without_a_terminal_is_a_line_per_step_and_some_during_other_long_phases(quickstart):
    lines = quickstart.log.splitlines()
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == 45
    assert all(word in steps[0] for word in ("reward", "KL", "toxicity", "tokens/s", "s left"))
    for phase in ("starting workers and loading models  ", "evaluating before ", "evaluating after "):
        assert any(line.startswith(phase) and line.endswith((" s so far", " s left")) for line in lines), phase


def test_a_local_ray_leaves_nothing_behind_that_affects_the_users_other_clusters(quickstart):
    """Its token used to stay in the home directory: the next `ray start` required it, and no client sent it."""
    assert not (set(quickstart.files_in_home) - {".cache"})
