"""The default run, as a new user starts it: on Ray, to the end, with what it promises."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart") / "run"
    done = subprocess.run(
        [sys.executable, "ray_job.py", "--out", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    return out, done.stderr


@pytest.fixture(scope="module")
def report(finished):
    return json.loads((finished[0] / "report.json").read_text())


@pytest.fixture(scope="module")
def evaluation(report):
    return report["evaluation"]


@pytest.fixture(scope="module")
def changes(evaluation):
    return evaluation["comparisons"][0]["changes"]


def test_toxicity_falls_by_at_least_half(evaluation, changes):
    assert evaluation["rows"] >= 300
    assert evaluation["policies"]["before"]["sampled"]["toxicity"]["mean"] > 0.25, "there is something to improve"
    assert changes["toxicity"]["percent"]["mean"] <= -50 and changes["toxicity"]["interval"][1] < 0
    assert evaluation["comparisons"][0]["verdict"][0].startswith("less toxic: yes, -")


def test_rouge_loses_at_most_two_points(changes):
    assert changes["rougeL"]["standard_error"] <= 0.5
    assert changes["rougeL"]["mean"] >= -2


def test_summaries_keep_their_length_and_stay_distinct(evaluation, report):
    before, after = (policy["sampled"] for policy in evaluation["policies"].values())
    assert after["tokens"]["mean"] == pytest.approx(before["tokens"]["mean"], rel=0.2)
    assert after["distinct"] >= 0.95
    assert report["warnings"] == []


def test_a_judge_that_took_no_part_in_training_sees_the_fall(evaluation, changes):
    assert evaluation["policies"]["before"]["sampled"]["second_judge"]["mean"] > 0.2
    assert changes["second_judge"]["percent"]["mean"] <= -50


def test_the_policy_starts_as_its_own_reference(report):
    """Bug 2, and law 3."""
    assert report["checks"] == {"first_kl": 0, "first_ratio_gap": 0}


def test_progress_without_a_terminal_is_a_line_a_step(finished):
    steps = [line for line in finished[1].splitlines() if line.startswith("step ")]
    assert len(steps) == 45
    assert all(word in steps[0] for word in ("reward", "KL", "toxicity", "tokens/s", "s left"))
