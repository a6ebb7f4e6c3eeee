"""`ray job submit` to a head with default settings, in the home of a user who has run the quickstart."""

import re
import time

import pytest

import ray_job
from tests.clusters import call, head
from tests.conftest import small_arguments
from tests.service.commands.test_resume import outcome

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def environment(quickstart):
    """A head whose jobs find this environment's python, in the home of a user who has run `make quickstart`."""
    with head(quickstart.home, port=26379, token=False) as env:
        yield env


def submit(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    words = ["ray", "job", "submit", "--working-dir", ".", "--", "python", "ray_job.py", *arguments]
    done = call(*words, env=env)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def test_a_job_runs_to_its_report(environment, tmp_path):
    code, output = submit(environment, *small_arguments(cluster__backend="ray", out=tmp_path / "run"))
    assert code == 0 and "succeeded" in output, output
    assert (tmp_path / "run/report.json").is_file()
    assert f"\n{tmp_path / 'run'}\n" in output


@pytest.mark.slow
def test_a_failing_job_ends_as_failed_with_its_error_as_the_last_line(environment):
    code, output = submit(environment, *small_arguments(cluster__backend="ray", cluster__resources__reward__gpus=1))
    assert code != 0 and "FAILED" in output.upper(), output
    logs = call("ray", "job", "logs", re.search(r"raysubmit_\w+", output)[0], env=environment).stdout
    assert logs.strip().splitlines()[-1].startswith("error: cluster: the run needs"), logs


@pytest.mark.chaos
def test_a_stopped_job_cleans_up_and_gives_the_same_result_when_resumed(environment, tmp_path):
    arguments = small_arguments(steps=15, cluster__backend="ray")
    folder = tmp_path / "run"
    started = call("ray", "job", "submit", "--no-wait", "--working-dir", ".", "--", "python", "ray_job.py", *arguments,
                   f"--out={folder}", env=environment).stdout  # fmt: skip
    job = re.search(r"raysubmit_\w+", started)[0]
    until = time.monotonic() + 90
    while not (folder / "steps.jsonl").exists() or len((folder / "steps.jsonl").read_text().splitlines()) < 3:
        assert time.monotonic() < until, call("ray", "job", "logs", job, env=environment).stdout
        time.sleep(0.1)  # the cluster runs the job: there is no event to wait for
    began = time.monotonic()
    call("ray", "job", "stop", job, env=environment)
    assert time.monotonic() - began < 15
    logs = call("ray", "job", "logs", job, env=environment).stdout
    assert f"resume with: python ray_job.py --resume {folder}" in logs
    assert logs.strip().splitlines()[-1] == "error: interrupted"
    for what, gone in [("actors", "DEAD"), ("placement-groups", "REMOVED")]:
        listed = call("ray", "list", what, "--filter", f"state!={gone}", env=environment)
        assert "Total: 0" in listed.stdout or "No resource" in listed.stdout, listed.stdout + listed.stderr
    assert submit(environment, f"--resume={folder}")[0] == 0
    assert ray_job.main([*arguments, "--cluster.backend=inline", f"--out={tmp_path / 'whole'}"]) == 0
    assert outcome(folder) == outcome(tmp_path / "whole")
