"""The pipeline, killed in the middle of a stage, resumes that stage and ends with the same result."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT, small_arguments

pytestmark = pytest.mark.chaos

SETTINGS = ["--sft.epochs=0.05", "--sft.evals=2", "--sft.eval_rows=8"]


def command(out: Path) -> list[str]:
    return [sys.executable, "ray_job.py", "pipeline", *small_arguments(steps=3), *SETTINGS, "--out", str(out)]


def begin(out: Path) -> subprocess.Popen:
    return subprocess.Popen(command(out), cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)


def complete(out: Path) -> str:
    """Run to the end; returns what it printed."""
    process = begin(out)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def kill_when(out: Path, pattern: str) -> None:
    """Kill the pipeline and all its processes as soon as a file is there."""
    process = begin(out)
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)  # nothing tells of another process's files
    everyone = [*psutil.Process(process.pid).children(recursive=True), process]
    for one in everyone:
        one.kill()
    process.communicate()


def outcome(out: Path) -> dict:
    report = json.loads((out / "report.json").read_text())
    return {"policies": report["policies"], "figures": report["evaluation"]["policies"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pipeline") / "whole"
    complete(out)
    return out


@pytest.mark.parametrize(
    "stage, pattern, done",
    [
        ("baseline", "evaluation/base.jsonl", ["explore"]),
        ("sft", "sft/checkpoints/checkpoint-*/complete", ["explore", "baseline"]),
        ("rlhf", "rlhf/checkpoints/step-000001", ["explore", "baseline", "sft"]),
        ("evaluation", "evaluation/rlhf.jsonl", ["explore", "baseline", "sft", "rlhf"]),
    ],
)
def test_killed_in_a_stage_it_resumes_and_ends_the_same(undisturbed, tmp_path, stage, pattern, done):
    out = tmp_path / "out"
    kill_when(out, pattern)
    said = complete(out)
    for name in done:
        assert f"{name} is already done" in said
    assert f"{stage} is already done" not in said
    assert outcome(out) == outcome(undisturbed)
    assert "rlhf is already done" in complete(out)
