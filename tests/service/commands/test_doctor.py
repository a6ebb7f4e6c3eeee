"""The doctor reports every problem at once, and its exit code shows whether the run would work."""

import subprocess
import sys

import psutil
import pytest
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

import ray_job
from cluster import memory, upload
from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from configs.errors import UsageError
from tests.conftest import ROOT, SMALL, small_config
from workers.rollout.sampling import AnyDecoder
from workers.rollout.t5_decoder import T5Decoder

pytestmark = pytest.mark.ray

ON_RAY = [f"--{key}={value}" for key, value in SMALL.items() if key != "cluster.backend"]


def test_a_healthy_run_passes_every_check():
    """In a process of its own, as users start it."""
    done = subprocess.run(
        [sys.executable, "ray_job.py", "doctor", *ON_RAY], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    shown = done.stdout
    assert done.returncode == 0, shown + done.stderr
    assert shown.count("│ ok │") == 10 and shown.splitlines()[-1] == "it will run"
    for found in (
        "ray 2.",
        "training prompts",
        "better text +",
        "generated, scored and learnt from",
        "requires a",
        "2 rollout",
        "GB free",
        "quickstart",
    ):
        assert found in shown


def test_every_problem_is_reported_at_once_with_its_remedy(tmp_path, capsys):
    (tmp_path / "used").touch()
    wrong = ["--policy.model", "no/such", "--reward.parts.classifier.label", "hate", "--out", str(tmp_path),
             "--workers.rollout", "900", "--cluster.resources.rollout.cpus", "1"]  # fmt: skip
    assert ray_job.main(["doctor", *ON_RAY, *wrong]) == 2
    output = capsys.readouterr()
    for expected in (
        "policy.model: 'no/such'",
        "reward.parts.classifier.label_is: reward.parts.classifier.probe.better",
        f"out: {tmp_path} exists",
        "this would fit: --workers",
    ):
        assert expected in output.err
    assert "Traceback" not in output.err and "it will run" not in output.out


def test_inline_needs_no_ray(capsys):
    assert ray_job.main(["doctor", *ON_RAY, "--cluster.backend", "inline"]) == 0
    assert "not needed (inline)" in capsys.readouterr().out


def test_a_step_that_would_fail_is_reported(monkeypatch, capsys):
    """What only a step shows: here a decoder that drifts from its own teacher-forced pass."""
    step = AnyDecoder.begin

    def drifting(self, encoded, length):
        inner = step(self, encoded, length)
        return type(
            "State", (), {"__call__": lambda _, token: inner(token) * 1.1, "keep": lambda _, r: inner.keep(r)}
        )()

    monkeypatch.setattr(AnyDecoder, "begin", drifting)
    monkeypatch.setattr(T5Decoder, "of", lambda policy: None)
    assert ray_job.main(["doctor", *ON_RAY, "--cluster.backend", "inline", "--policy.dtype", "float32"]) == 2
    output = capsys.readouterr()
    assert "were not sampled from the policy that recomputed" in output.err and "it will run" not in output.out


def test_too_little_memory_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1e9}))
    assert ray_job.main(["doctor", *ON_RAY, "--cluster.backend", "inline"]) == 2
    assert "of 1.0 GB free; lower workers.*" in capsys.readouterr().err


def test_memory_grows_with_what_is_asked_for():
    small, large = (small_config(rollout__max_new_tokens=n, workers__reward=w) for n, w in [(12, 1), (48, 3)])
    few, many = (resolve(LayoutRequest.of(config), [Machine(2)]) for config in (small, large))
    assert memory.estimate(large, many)["learner"] > memory.estimate(small, few)["learner"]
    each = memory.estimate(small, few)
    assert memory.total(many, each) - memory.total(few, each) == 2 * each["reward"]


def test_the_upload_is_small_and_without_environment_and_runs():
    assert float(upload.examine_upload(ROOT).split(" MB")[0]) < 20


def test_what_ray_would_refuse_is_reported(tmp_path, monkeypatch):
    """A folder over the limit: the limit is lowered for it, not the folder blown up."""
    (tmp_path / "data.bin").write_bytes(b"0" * 1000)
    monkeypatch.setattr(upload, "GCS_STORAGE_MAX_SIZE", 100)
    with pytest.raises(UsageError, match=r"working_dir: .* \(largest parts: data\.bin"):
        upload.examine_upload(tmp_path)
    assert GCS_STORAGE_MAX_SIZE > 100e6
