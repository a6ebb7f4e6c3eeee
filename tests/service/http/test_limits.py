"""Limits, timeouts and outages are reported as such, and do not affect other requests."""

import asyncio
import threading

import pytest

from cluster.serving.client import TooSlow, Unavailable
from configs.errors import RunError
from service.http.runs.service import RunService


def until(client, run, condition, headers=None):
    """The run, once it meets the condition."""
    done, change = threading.Event(), client.app.state.runs.store.change

    def changes(record, *rest):
        result = change(record, *rest)
        done.set()
        return result

    client.app.state.runs.store.change = changes
    while not condition(found := client.get(f"/runs/{run}", headers=headers).json()):
        assert done.wait(timeout=30), found
        done.clear()
    return found


def test_texts_beyond_the_limit_are_refused_and_those_in_progress_answered(make_client, models, monkeypatch):
    client = make_client("--serve.limits.queue=2")
    started, let_go, score = threading.Event(), threading.Event(), models.score

    async def slow(text):
        started.set()
        while not let_go.is_set():
            await asyncio.sleep(0.01)
        return await score(text)

    monkeypatch.setattr(models, "score", slow)
    answers = []
    first = threading.Thread(target=lambda: answers.append(client.post("/scores", json={"texts": ["a", "b"]})))
    first.start()
    assert started.wait(timeout=30)
    refused = client.post("/scores", json={"texts": ["c"]})
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert client.post("/summaries", json={"dialogues": ["hello"]}).status_code == 200, "each kind has its own limit"
    let_go.set()
    first.join()
    assert answers[0].status_code == 200 and len(answers[0].json()["scores"]) == 2
    assert client.post("/scores", json={"texts": ["c"]}).status_code == 200


@pytest.mark.parametrize("error, status", [(TooSlow("late"), 504), (Unavailable("gone"), 503)])
def test_models_that_do_not_respond(client, models, monkeypatch, error, status):
    async def fails(*_):
        raise error

    monkeypatch.setattr(models, "score", fails)
    monkeypatch.setattr(models, "summarize", fails)
    for path, body in [("/scores", {"texts": ["a", "b"]}), ("/summaries", {"dialogues": ["a", "b"]})]:
        for accept in ("application/json", "application/x-ndjson"):
            answer = client.post(path, json=body, headers={"Accept": accept})
            assert answer.status_code == status and answer.json()["errors"][0]["message"] == str(error)
            assert ("Retry-After" in answer.headers) == (status == 503)
    monkeypatch.undo()
    assert client.post("/scores", json={"texts": ["a"]}).status_code == 200


def test_the_number_of_runs_is_limited(make_client):
    client = make_client("--serve.limits.runs=2")
    keys = ("first", "second")
    ids = [client.post("/runs", json={}, headers={"Idempotency-Key": key}).json()["id"] for key in keys]
    refused = client.post("/runs", json={}, headers={"Idempotency-Key": "again"})
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    runs: RunService = client.app.state.runs
    assert {file.stem for file in (runs.paths.requests).iterdir()} == set(ids), "a refused run leaves no file"
    assert client.post("/runs", json={}, headers={"Idempotency-Key": "first"}).status_code == 200, "sent once more"
    client.post(f"/runs/{ids[0]}/stop")
    until(client, ids[0], lambda run: run["state"] == "stopped")
    assert client.post("/runs", json={}, headers={"Idempotency-Key": "again"}).status_code == 201


def test_a_run_that_the_cluster_does_not_accept_waits_with_a_message_until_it_is_stopped_or_accepted(
    client, monkeypatch
):
    runs, submit = client.app.state.runs, client.app.state.runs.jobs.submit

    def refuses(*_):
        raise RunError("the cluster accepts no jobs")

    monkeypatch.setattr(runs.jobs, "submit", refuses)
    stopped, accepted = (client.post("/runs", json={}).json()["id"] for _ in range(2))
    for run in (stopped, accepted):
        assert until(client, run, lambda run: run["message"])["state"] == "queued"
    assert client.post(f"/runs/{stopped}/stop").json()["state"] == "stopped"
    monkeypatch.setattr(runs.jobs, "submit", submit)
    assert until(client, accepted, lambda run: run["state"] == "pending")["message"] == ""
    assert list(runs.jobs.commands) == [f"{accepted}-1"]


def test_the_message_of_an_outage_is_cleared_after_it(client, monkeypatch):
    runs = client.app.state.runs
    run = client.post("/runs", json={}).json()["id"]
    until(client, run, lambda run: run["state"] == "pending")
    state = runs.jobs.state

    def fails(name):
        raise RunError("the cluster does not respond")

    monkeypatch.setattr(runs.jobs, "state", fails)
    assert until(client, run, lambda run: run["message"])["state"] == "pending"
    monkeypatch.setattr(runs.jobs, "state", state)
    assert until(client, run, lambda run: not run["message"])["state"] == "pending"
