"""A reward model by two workers of Ray Train, one of which is killed."""

import json
import os
import signal
import subprocess
import sys

import pytest

from learner.trainer_log import read_log
from tests.conftest import ROOT
from tests.preferences import simulated, write

pytestmark = [pytest.mark.ray, pytest.mark.chaos]  # two and a half minutes


def workers_of(process: int) -> list[int]:
    """Process ids of the Ray Train workers below a process."""
    table = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in table.splitlines()[1:]]
    below = {process}
    for _ in range(5):
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    return [int(pid) for pid, _, name in rows if int(pid) in below and "RayTrainWorker" in name]


def test_two_workers_train_one_model_and_a_killed_one_changes_nothing_but_the_time(tmp_path):
    pairs = write(simulated(60), tmp_path / "pairs.jsonl")
    chosen = {"workers": 2, "learning_curve": "false", "epochs": 8, "evals": 8, "batch_size": 8}
    settings = ["--pairs", str(pairs), *[f"--reward_training.{name}={value}" for name, value in chosen.items()]]
    hashes = []
    for name in ("undisturbed", "killed"):
        out = tmp_path / name
        command = [sys.executable, "ray_job.py", "train-reward", *settings, "--out", str(out)]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            shown = []
            for line in process.stderr:
                shown.append(line)
                if name == "killed" and "step 12/" in line and "accuracy" in line:
                    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        assert process.returncode == 0, "".join(shown)
        found = json.loads((out / "reward_model.json").read_text())
        hashes.append(found["models_sha256"])
        assert found["accuracy"] == 1 and found["steps"] == 48
        steps = [line["step"] for line in read_log(out / "logs/member0.jsonl")]
        assert steps == sorted(steps) and steps[-1] == 48
    assert hashes[0] == hashes[1]
