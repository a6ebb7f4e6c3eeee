"""The default run, as a new user starts it: on Ray, to the end, with what it promises."""

import json
import subprocess
import sys

import profanity_check
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


def test_toxicity_falls_by_at_least_half(report):
    assert report["evaluation"]["rows"] >= 300
    assert report["toxicity"]["before"]["mean"] > 0.25, "there is something to improve"
    assert report["toxicity"]["improvement_percent"]["mean"] >= 50


def test_rouge_loses_at_most_two_points(report):
    change = report["rouge"]["difference"]["rougeL"]
    assert change["standard_error"] <= 0.5
    assert change["mean"] >= -2


def test_summaries_keep_their_length_and_stay_distinct(report):
    assert report["tokens"]["after"]["mean"] == pytest.approx(report["tokens"]["before"]["mean"], rel=0.2)
    assert report["distinct"]["after"]["share"] >= 0.95


def test_a_judge_that_took_no_part_in_training_sees_the_fall(finished):
    lines = [json.loads(line) for line in (finished[0] / "summaries.jsonl").read_text().splitlines()]
    before, after = (
        profanity_check.predict_prob([line[side]["text"] for line in lines]).mean() for side in ("before", "after")
    )
    assert before > 0.2 and after < before / 2


def test_the_policy_starts_as_its_own_reference(report):
    """Bug 2, and law 3."""
    assert report["checks"] == {"first_kl": 0, "first_ratio_gap": 0}


def test_progress_without_a_terminal_is_a_line_a_step(finished):
    steps = [line for line in finished[1].splitlines() if line.startswith("step ")]
    assert len(steps) == 45
    assert all(word in steps[0] for word in ("reward", "KL", "toxicity", "tokens/s", "s left"))
