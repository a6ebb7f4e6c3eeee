"""On Ctrl-C, `ray job stop` or similar, a run ends within seconds, cleans up, and can be resumed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest

from tests.conftest import ROOT, small_arguments
from tests.service.commands.test_resume import outcome, process

pytestmark = pytest.mark.ray

STEPS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=False) == 0
    return folder


OURS = ("raylet", "gcs_server", "ray::WorkerActor", "ray::IDLE")


def processes(mark: str, names: tuple[str, ...] = OURS) -> list[psutil.Process]:
    """Daemons and workers of Ray that were started by the run with this mark in its environment."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.name().startswith(names) and one.environ().get("MARK") == mark:
                found.append(one)
    return found


def start_and_stop(arguments: list[str], kind: signal.Signals, step: int) -> tuple[int, float, str]:
    """Start a run and stop it after a step; returns its exit code, the seconds it took to end, and its stderr."""
    mark = str(uuid.uuid4())
    run = subprocess.Popen([sys.executable, "ray_job.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                           start_new_session=True, env={**os.environ, "MARK": mark})  # fmt: skip
    for line in run.stderr:
        if line.startswith(f"step {step}/"):
            break
    assert processes(mark), "the search finds running processes"
    stopped_at = time.monotonic()
    os.killpg(run.pid, kind) if kind == signal.SIGINT else run.send_signal(kind)
    stderr, code = run.stderr.read(), run.wait(timeout=30)
    seconds = time.monotonic() - stopped_at
    until = time.monotonic() + 20
    while left := processes(mark):
        assert time.monotonic() < until, left
        time.sleep(0.1)  # not our child processes: there is no event to wait for
    # Helpers that outlive a killed driver for a minute or two hold a port that the next cluster's helpers want.
    for helper in processes(mark, names=("ray::",)):
        helper.kill()
    return code, seconds, stderr


@pytest.mark.chaos
def test_an_interrupted_run_cleans_up_within_seconds_and_resumes(whole, tmp_path):
    """Interrupted by Ctrl-C, which reaches the whole process group; resumed, killed, and resumed again."""
    folder = tmp_path / "run"
    arguments = [*small_arguments(steps=STEPS, cluster__backend="ray"), "--out", str(folder)]
    code, seconds, stderr = start_and_stop(arguments, signal.SIGINT, step=3)
    assert code == 1 and seconds < 15, (code, seconds)
    assert f"resume with: python ray_job.py --resume {folder}" in stderr
    assert stderr.strip().splitlines()[-1] == "error: interrupted", stderr
    code, _, _ = start_and_stop(["--resume", str(folder)], signal.SIGKILL, step=6)
    assert code == -9
    assert process(["--resume", folder, "--cluster.backend", "inline"], stubs=False) == 0
    assert outcome(folder) == outcome(whole)
    assert json.loads((folder / "report.json").read_text())["resumed_after_step"] >= 5
