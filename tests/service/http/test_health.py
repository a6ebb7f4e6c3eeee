"""Health, metrics and logs."""

import json
import re
import threading

import pytest

from configs.errors import RunError
from service.http.request_log import log_to_stderr
from tests.conftest import ROOT
from tests.service.http.test_access import bearer

NAME = re.compile(r"\bseqrlhf_\w+")


def submit(client, **step):
    """Id of a run that has done one step."""
    run = client.post("/runs", json={"steps": 5}).json()["id"]
    folder = client.app.state.runs.folder(run)
    folder.mkdir()
    (folder / "steps.jsonl").write_text(json.dumps({"step": 0, **step}) + "\n")
    return run


def test_health_and_readiness_need_no_key(make_client, keys):
    client = make_client(keys=keys[0])
    assert client.get("/health").json() == {"status": "ok"}
    ready = client.get("/ready")
    assert ready.status_code == 200 and ready.json()["replicas"] == {"summaries": 1, "scores": 1}


@pytest.mark.parametrize("broken", ["record", "cluster", "replicas"])
def test_it_is_not_ready_if_something_does_not_respond(client, models, broken, monkeypatch):
    def fails(*_):
        raise RunError("gone")

    if broken == "record":
        client.app.state.runs.store._db.execute("alter table runs rename to lost")
    elif broken == "cluster":
        monkeypatch.setattr(client.app.state.runs.jobs, "state", fails)
    else:
        monkeypatch.setattr(models, "ready", lambda: {"summaries": 1, "scores": 0})
    answer = client.get("/ready")
    assert answer.status_code == 503 and not answer.json()["ready"]
    if broken == "record":
        client.app.state.runs.store._db.execute("alter table lost rename to runs")


def test_readiness_is_checked_by_one_thread_however_many_requests_ask(client, models, monkeypatch):
    checks, let_go = [], threading.Event()

    def hangs():
        checks.append(1)
        let_go.wait()
        return {"summaries": 1}

    monkeypatch.setattr(models, "ready", hangs)
    monkeypatch.setattr("service.http.health.TIMEOUT", 0.05)
    assert [client.get("/ready").status_code for _ in range(5)] == [503] * 5
    assert len(checks) == 1
    let_go.set()


def test_metrics_for_prometheus(client):
    run = submit(client, **{"reward/mean": 1.5, "watch/toxicity": 0.25, "objective/kl": float("nan")})
    client.post("/scores", json={"texts": ["a", "b"]})
    client.get("/runs/000000000000")
    for path in ("/x1", "/x2", "/runs/zzz"):
        client.get(path)
    metrics = client.get("/metrics").text
    assert f'seqrlhf_run_reward{{run="{run}"}} 1.5' in metrics
    assert f'seqrlhf_run_toxicity{{run="{run}"}} 0.25' in metrics
    assert "seqrlhf_run_kl{" not in metrics, "NaN has no series"
    assert any(line.startswith("seqrlhf_runs{") and line.endswith(" 1.0") for line in metrics.splitlines())
    assert 'seqrlhf_requests_total{method="POST",route="/scores",status="200"}' in metrics
    assert 'route="/runs/{run}",status="404"' in metrics
    assert "/x1" not in metrics and "zzz" not in metrics, "paths that clients invent must not create series"


def test_metrics_need_the_scope_read(make_client, keys):
    client = make_client(keys=keys[0])
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer(keys[1]["read"])).status_code == 200


def test_every_response_and_its_log_line_have_the_request_id(client, capsys):
    log_to_stderr()
    run = submit(client)
    capsys.readouterr()
    answer = client.get(f"/runs/{run}", headers={"X-Request-ID": "from-client.1"})
    assert answer.headers["X-Request-ID"] == "from-client.1"
    wrong = client.get("/runs/none", headers={"X-Request-ID": "bad id\n"})
    assert wrong.json()["request_id"] == wrong.headers["X-Request-ID"] != "bad id"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    first, second = [line for line in lines if line["event"] == "request"][-2:]
    assert first["request_id"] == "from-client.1" and first["run_id"] == run and first["status"] == 200
    assert second["request_id"] == wrong.json()["request_id"] and second["status"] in (404, 422)


def test_the_dashboard_shows_existing_metrics(client):
    submit(client, **{"reward/mean": 1.0, "watch/toxicity": 0.5, "objective/kl": 0.1, "time/tokens_per_second": 9.0})
    client.post("/scores", json={"texts": ["a"]})
    metrics = client.get("/metrics").text
    panels = json.loads((ROOT / "service/http/grafana.json").read_text())["panels"]
    used = {name for panel in panels for target in panel["targets"] for name in NAME.findall(target["expr"])}
    assert len(used) > 8
    for name in used:
        assert f"\n{name}{{" in metrics, name
