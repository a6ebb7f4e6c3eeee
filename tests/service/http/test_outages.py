"""A full disk, damaged files and other services: a clear word for who asks, and everything else goes on."""

import json
import os
import signal
import subprocess
import sys

import pytest

import ray_job
from configs.errors import RunError, UsageError
from service.http.runs.paths import RunPaths
from service.http.runs.store import RunStore
from service.run.lock import lock_folder
from tests.conftest import ROOT
from tests.service.http.test_fuzz import finish
from tests.service.http.test_limits import until


@pytest.fixture
def full_disk(tmp_path):
    """A function that fills the disk on which the service's folder is."""
    folder = tmp_path / "runs"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user cannot mount a small disk")

    def fill():
        with (folder / "ballast").open("wb") as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 2**20)
                file.flush()

    yield fill
    subprocess.run(["umount", "-l", folder], check=True)


def test_on_a_full_disk_changes_are_refused_and_the_rest_is_answered(full_disk, make_client):
    client = make_client()
    run = finish(client)
    assert client.get("/ready").status_code == 200
    full_disk()
    refused = client.post("/runs", json={})
    assert refused.status_code == 503 and "free on the disk" in refused.json()["errors"][0]["message"]
    client.app.state.readiness._finished = -1.0  # its result is kept for a second
    ready = client.get("/ready")
    assert ready.status_code == 503 and "free on the disk" in ready.json()["waiting_for"][0]
    assert client.get(f"/runs/{run}").json()["state"] == "succeeded"
    assert client.post("/scores", json={"texts": ["a"]}).status_code == 200
    (client.app.state.runs.paths.root / "ballast").unlink()
    assert client.post("/runs", json={}).status_code == 201


@pytest.mark.parametrize("damage", [b"not a database", b"", None], ids=["overwritten", "empty", "torn"])
def test_a_service_with_damaged_records_does_not_start(tmp_path, capsys, damage):
    paths = RunPaths(tmp_path)
    RunStore(paths).close()
    whole = paths.database.read_bytes()
    paths.database.write_bytes(whole[:5000] + b"x" * 5000 if damage is None else damage * 100)
    if damage == b"":
        RunStore(paths).close()  # an empty file is a new one
        return
    code = ray_job.main(["serve", f"--serve.folder={tmp_path}", "--serve.port=0"])
    error = capsys.readouterr().err
    assert code == 1 and f"{paths.database}: the records of runs cannot be used" in error and "Traceback" not in error
    with lock_folder(tmp_path):
        pass  # it was released


def test_two_services_never_share_a_folder(tmp_path):
    store = RunStore(RunPaths(tmp_path))
    with pytest.raises(UsageError, match=rf"{tmp_path}: process {os.getpid()} on .*, since 2.* is using this folder"):
        RunStore(RunPaths(tmp_path))
    name = store.name
    store.close()
    again = RunStore(RunPaths(tmp_path))
    assert again.name == name, "the name of its replicas stays with the folder"
    again.close()


def test_records_that_become_unreadable_are_reported_as_such(client, tmp_path):
    finish(client)
    store = client.app.state.runs.store
    store._db.execute("alter table runs rename to lost")
    for answer in (client.get("/runs"), client.post("/runs", json={})):
        assert answer.status_code == 503 and "the records of runs" in answer.json()["errors"][0]["message"]
    store._db.execute("alter table lost rename to runs")
    assert client.get("/runs").status_code == 200


UNREADABLE = {
    "steps.jsonl": (
        b"\0\0\0\0",
        b'{"step": ',
        b"3",
        b"[]",
        b'{"step": "x"}',
        b'{"step": true}',
        b"\xff",
        b"[" * 10_000,
    ),
    "status.json": (b"3", b"[]", b'{"phase": 1}', b"\0"),
    "workers.json": (b"3", b'{"rollout": 4}', b'{"rollout": {"ready": "x"}}'),
    "report.json": (b"3", b"[]", b"\0"),
}


@pytest.mark.parametrize("file", UNREADABLE)
def test_an_unreadable_file_of_one_run_leaves_the_others_alone(client, file):
    damaged, whole = finish(client, "running"), finish(client)
    runs = client.app.state.runs
    runs.jobs.states[f"{damaged}-1"] = "running"
    path = runs.folder(damaged) / file
    before = path.read_bytes() if path.exists() else b""
    for content in UNREADABLE[file]:
        path.write_bytes((before if file == "steps.jsonl" else b"") + content + b"\n")
        found = {run["id"]: run for run in client.get("/runs").json()["runs"]}
        assert found[whole]["step"] == 2 and found[damaged]["step"] == 2, content
        if file == "steps.jsonl":
            assert "the last line of steps.jsonl is unreadable" in found[damaged]["message"], content
            assert len(client.get(f"/runs/{damaged}/steps").json()["steps"]) == 2, content
        assert client.get("/metrics").status_code == 200


def test_steps_after_an_unreadable_line_are_shown(client):
    run = finish(client)
    with (client.app.state.runs.folder(run) / "steps.jsonl").open("ab") as file:
        file.write(b"\0\n" + json.dumps({"step": 2, "reward/mean": 1.0}).encode() + b"\n")
    assert [step["step"] for step in client.get(f"/runs/{run}/steps").json()["steps"]] == [0, 1, 2]
    assert client.get(f"/runs/{run}").json()["message"] == ""


def test_a_ray_that_does_not_start_is_reported(tmp_path, monkeypatch):
    import ray

    from cluster.ray_cluster import connected

    def fails(**_):
        raise Exception("the current node timed out during startup")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(RunError, match="Ray could not be started: the current node timed out"), connected(None):
        pass


def test_the_log_of_a_run_survives_its_cluster(client):
    run = finish(client)
    runs = client.app.state.runs
    (runs.folder(run) / "log.txt").write_text("".join(f"line {i}\n" for i in range(1000)))
    shown = client.get(f"/runs/{run}/log").text.splitlines()
    assert shown[-1] == "line 999" and len(shown) == 200
    runs.jobs.log = lambda name: "what Ray has"
    assert client.get(f"/runs/{run}/log").text == "what Ray has"


HOLDER = """
import sys
from pathlib import Path
from service.run.lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_run_that_outlived_its_cluster_is_stopped_all_the_same(client):
    run = client.post("/runs", json={}).json()["id"]
    until(client, run, lambda found: found["state"] == "pending")
    folder = client.app.state.runs.folder(run)
    folder.mkdir(parents=True)
    words = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        client.app.state.runs.jobs.states.clear()  # a new cluster knows no job
        assert client.post(f"/runs/{run}/stop").status_code == 202
        assert process.wait(timeout=30) == -signal.SIGTERM
    assert until(client, run, lambda found: found["state"] == "interrupted")["message"]


def test_a_file_that_cannot_be_read_gets_a_whole_answer(client, monkeypatch):
    run = finish(client)
    client.app.state.runs.folder(run).joinpath("report.html").chmod(0)
    if os.geteuid() == 0:  # root may read everything, other users not
        monkeypatch.setattr("pathlib.Path.open", deny)
    answer = client.get(f"/runs/{run}/files/report.html")
    assert answer.status_code == 503 and "cannot read" in answer.json()["errors"][0]["message"]


def deny(*_, **__):
    raise PermissionError(13, "Permission denied")
