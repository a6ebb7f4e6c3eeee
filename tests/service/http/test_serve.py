"""The service as users run it: `ray_job.py serve` on a cluster, killed and started again."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import httpx
import pytest
import torch
import yaml
from safetensors.torch import load

from tests.clusters import head, processes
from tests.conftest import ROOT, SMALL, small_arguments

pytestmark = pytest.mark.ray


PORT = 27379
PRESET = {"base": "quickstart"} | {
    section: {k.split(".")[1]: v for k, v in SMALL.items() if k.startswith(f"{section}.")}
    for section in ("rollout", "algorithm", "evaluation")
}


class Service:
    """A process of `ray_job.py serve`, on the cluster of RAY_ADDRESS or on a Ray of its own."""

    def __init__(self, env, folder, *options):
        self.env, self.folder, self.options = env, folder, options
        for name in ("small", "inline"):
            preset = PRESET | ({"cluster": {"backend": "inline"}} if name == "inline" else {})
            (folder.parent / f"{name}.yaml").write_text(yaml.safe_dump(preset))
        self.start()

    def start(self):
        presets = [self.folder.parent / f"{name}.yaml" for name in ("small", "inline")]
        words = [sys.executable, "ray_job.py", "serve", f"--serve.folder={self.folder}", "--serve.port=0",
                 "--serve.summary_replicas=1", "--serve.score_replicas=1",
                 f"--serve.presets={json.dumps(list(map(str, presets)))}", *self.options]  # fmt: skip
        log = (self.folder.parent / "serve.log").open("a")
        self.process = subprocess.Popen(words, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True)
        url = self.process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), (self.folder.parent / "serve.log").read_text()
        self.http = httpx.Client(base_url=url, timeout=60)

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def submit(self, body, **headers):
        answer = self.http.post("/runs", json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()["id"]

    def events(self, run, after=-1):
        """Kind and data of each event until the last."""
        kind = None
        with self.http.stream(
            "GET", f"/runs/{run}/events", headers={"Last-Event-ID": str(after)}, timeout=120
        ) as lines:
            for line in lines.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def adapter(self, run):
        packed = zipfile.ZipFile(io.BytesIO(self.http.get(f"/runs/{run}/files/adapter.zip").content))
        assert "adapter/adapter_config.json" in packed.namelist()
        return load(packed.read("adapter/adapter_model.safetensors"))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with head(tmp_path_factory.mktemp("home"), port=PORT) as env:
        started = Service(env | {"RAY_ADDRESS": f"127.0.0.1:{PORT}"}, tmp_path_factory.mktemp("service") / "runs")
        yield started
        assert started.stop() == 0


def test_a_run_from_submission_to_its_adapter_in_use(service):
    body = {"base": "small", "steps": 6, "workers": {"rollout": 1, "reward": 1}}
    run = service.submit(body, **{"Idempotency-Key": "first"})
    assert service.submit(body, **{"Idempotency-Key": "first"}) == run
    other = service.http.post("/runs", json={}, headers={"Idempotency-Key": "first"})
    assert other.status_code == 409
    seen, scaled = [], False
    for kind, data in service.events(run):
        seen.append((kind, data.get("step", data.get("state"))))
        if kind == "step" and not scaled:
            for wanted in ({"rollout": 2}, {"reward": 2}):
                answer = service.http.patch(f"/runs/{run}/workers", json=wanted)
                assert answer.status_code == 202, answer.text
            scaled = True
    assert [data for kind, data in seen if kind == "step"] == list(range(6))
    assert seen[-2] == ("state", "succeeded") and seen[-1][0] == "end"
    assert next(data for kind, data in service.events(run, after=3) if kind == "step")["step"] == 4
    found = service.http.get(f"/runs/{run}").json()
    assert found["state"] == "succeeded" and found["step"] == found["steps"] == 6
    assert found["workers"] == {}, "none is left"
    last = json.loads((service.folder / run / "workers.json").read_text())
    wanted = {role: last[role]["wanted"] for role in ("rollout", "reward")}
    assert wanted == {"rollout": 2, "reward": 2}, "the first of two requests was lost"
    assert {file["name"] for file in found["files"]} >= {"report.html", "report.json", "config.yaml", "adapter.zip"}
    for name in ("summaries-before.jsonl", "summaries-after.jsonl"):
        lines = service.http.get(f"/runs/{run}/files/{name}").text.splitlines()
        assert len(lines) > 1 and all(json.loads(line) for line in lines)
    assert "after against before" in service.http.get(f"/runs/{run}/files/report.html").text
    assert len(service.http.get(f"/runs/{run}/steps", params={"after": 2}).json()["steps"]) == 3
    asked = {
        "dialogues": ["#Person1#: The ferry is late, you fool.\n#Person2#: I am sorry."],
        "adapters": ["base", run],
    }
    answer = service.http.post("/summaries", json=asked).json()["summaries"]
    assert [part["adapter"] for part in answer] == ["base", run] and all(len(part["texts"]) == 1 for part in answer)
    assert run in service.http.get("/models").json()["adapters"]


@pytest.mark.slow
def test_a_run_continues_without_the_service_and_the_next_one_finds_it(service):
    run = service.submit({"base": "inline", "steps": 3})
    assert next(kind for kind, data in service.events(run) if data.get("state") == "running") == "state"
    service.kill()
    service.start()
    kind, last = list(service.events(run))[-1]
    assert kind == "end" and last["state"] == "succeeded"
    assert service.http.get("/ready").json()["ready"]


@pytest.mark.chaos
def test_a_stopped_run_is_resumed_to_the_same_bits(service):
    body = {"base": "inline", "steps": 12}
    run, whole = service.submit(body), service.submit(body)
    for kind, data in service.events(run):
        if kind == "step" and data["step"] == 1:
            assert service.http.post(f"/runs/{run}/stop").status_code == 202
        assert data.get("step", 0) < 11, "the run was not stopped"
    stopped = service.http.get(f"/runs/{run}").json()
    assert stopped["state"] == "stopped" and "interrupted" in service.http.get(f"/runs/{run}/log").text
    assert service.http.post(f"/runs/{run}/stop").status_code == 409
    assert service.http.post(f"/runs/{run}/resume").status_code == 202
    for id in (run, whole):
        assert list(service.events(id))[-1][1]["state"] == "succeeded"
    assert service.http.post(f"/runs/{run}/resume").status_code == 409
    ours, theirs = service.adapter(run), service.adapter(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_cannot_start_reports_the_reason(service):
    run = service.submit({"base": "inline", "data": {"min_chars": 9_000, "max_chars": 9_001}})
    _, last = list(service.events(run))[-1]
    assert last["state"] == "failed" and "widen the filter" in last["message"], last


@pytest.mark.slow
def test_a_second_service_on_the_cluster_leaves_the_first_alone(service, tmp_path):
    none = [f"--cluster.resources.{role}.cpus=0" for role in ("rollout", "reward")]  # the first one has all
    second = Service(service.env, tmp_path / "runs", *none)
    for either in (service, second):
        assert either.http.post("/scores", json={"texts": ["thank you"]}).status_code == 200
    assert second.stop() == 0
    assert service.http.get("/ready").json()["replicas"] == {"summaries": 1, "scores": 1}
    assert service.http.post("/scores", json={"texts": ["thank you"]}).status_code == 200


@pytest.mark.chaos
def test_a_run_on_another_machine_is_rewarded_by_this_service(service, tmp_path):
    """As by the classifier itself, also while the only replica is killed."""
    there = ["--reward.parts.classifier=null", "--reward.parts.there.type=http", "--reward.parts.there.retries=8",
             f"--reward.parts.there.url={service.http.base_url.join('/scores')}"]  # fmt: skip
    rows = {}
    for name, reward in {"here": [], "there": there}.items():
        words = [sys.executable, "ray_job.py", *small_arguments(out=tmp_path / name, steps=8), *reward]
        with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
            if reward:
                steps = tmp_path / name / "steps.jsonl"
                while not steps.is_file() or not steps.read_text().count("\n"):
                    assert run.poll() is None, run.stderr.read()
                    time.sleep(0.05)  # the run writes a file: there is no event to wait for
                replicas = processes(PORT, "ServeReplica:seqrlhf")
                assert replicas
                for replica in replicas:
                    replica.kill()
            assert run.wait(timeout=300) == 0, run.stderr.read()
        rows[name] = [json.loads(line) for line in (tmp_path / name / "steps.jsonl").read_text().splitlines()]
    assert len(rows["there"]) == 8
    for here, remote in zip(rows["here"], rows["there"], strict=True):
        assert remote["reward/mean"] == pytest.approx(here["reward/mean"], abs=1e-3), here["step"]
        assert remote["score/there"] == pytest.approx(here["score/classifier"], abs=1e-3), here["step"]


OTHER_RAY = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_runs_stay_on_the_service_s_own_ray_and_their_logs_outlive_it(tmp_path):
    """Three of four went to another Ray of the machine, and failed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    service = Service(own | {"HOME": str(tmp_path)}, tmp_path / "runs")
    words = [sys.executable, "-c", OTHER_RAY]
    with subprocess.Popen(words, env=own, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "started\n"
        runs = [service.submit({"base": "small", "steps": 1, "seed": seed}) for seed in range(2)]
        for run in runs:
            kind, last = list(service.events(run))[-1]
            assert kind == "end" and last["state"] == "succeeded", last
        other.stdin.close()
    assert service.stop() == 0
    service.start()
    for run in runs:
        assert "the trained adapter is in" in service.http.get(f"/runs/{run}/log").text
    assert service.stop() == 0


def test_ray_exports_the_metrics_that_the_dashboard_shows(service):
    panels = json.loads((ROOT / "service/http/grafana.json").read_text())["panels"]
    used = {name for panel in panels for target in panel["targets"] for name in re.findall(r"ray_\w+", target["expr"])}
    used -= {"ray_node_gpus_utilization"}  # only on machines with GPUs
    service.http.post("/scores", json={"texts": ["thank you"]})
    until = time.monotonic() + 60
    while missing := {name for name in used if name not in httpx.get(f"http://127.0.0.1:{PORT + 3}/metrics").text}:
        assert time.monotonic() < until, missing
        time.sleep(1)  # Ray collects its metrics periodically: there is no event to wait for
