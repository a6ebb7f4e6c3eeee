"""Supervised fine-tuning by two workers of Ray Train."""

import json

import pytest

import ray_job
from learner.sft import LOG
from learner.trainer_log import read_log
from service.commands.sft import is_complete

pytestmark = pytest.mark.ray

SETTINGS = ["--sft.epochs=0.05", "--sft.evals=1", "--sft.eval_rows=20", "--rollout.max_new_tokens=12"]


@pytest.mark.slow
def test_two_workers_train_one_adapter(tmp_path, capsys):
    out = tmp_path / "two"
    assert ray_job.main(["sft", *SETTINGS, "--sft.workers", "2", "--out", str(out)]) == 0
    assert is_complete(out) and json.loads((out / "sft.json").read_text())["steps"] == 7  # 5% of 125
    two = [line["eval_rougeL"] for line in read_log(out / LOG) if "eval_rougeL" in line]
    alone = tmp_path / "alone"
    assert ray_job.main(["sft", *SETTINGS, "--cluster.backend", "inline", "--out", str(alone)]) == 0
    one = [line["eval_rougeL"] for line in read_log(alone / LOG) if "eval_rougeL" in line]
    assert len(two) == len(one) == 2 and two[0] == pytest.approx(one[0]), (
        "each summary is compared with its own reference"
    )
    shown = capsys.readouterr()
    assert "trainable model parameters: 18,432; all model parameters: 677,248" in shown.err
    assert str(out) in shown.out.splitlines()


def test_more_workers_than_fit_are_refused_with_a_remedy(tmp_path, capsys):
    arguments = ["sft", *SETTINGS, "--sft.workers", "16", "--cluster.resources.learner.cpus", "4"]
    assert ray_job.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "sft.workers: 16 workers with 4 CPU" in capsys.readouterr().err
