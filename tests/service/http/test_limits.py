"""Too much, too late, nobody there: told as that, and nobody else goes without for it."""

import asyncio
import threading

import pytest

from cluster.serving.models import TooSlow, Unavailable
from configs.errors import RunError
from service.http.runs.service import Runs


def until(client, run, condition):
    """The run as the events tell it, once it is as wanted."""
    done, change = threading.Event(), client.app.state.runs.registry.change

    def changes(record, *rest):
        result = change(record, *rest)
        done.set()
        return result

    client.app.state.runs.registry.change = changes
    while not condition(found := client.get(f"/runs/{run}").json()):
        assert done.wait(timeout=30), found
        done.clear()
    return found


def test_texts_that_find_no_room_are_refused_and_those_under_way_answered(make_client, models, monkeypatch):
    client = make_client("--serve.limits.queue=2")
    begun, let_go, score = threading.Event(), threading.Event(), models.score

    async def slow(text):
        begun.set()
        while not let_go.is_set():
            await asyncio.sleep(0.01)
        return await score(text)

    monkeypatch.setattr(models, "score", slow)
    answers = []
    first = threading.Thread(target=lambda: answers.append(client.post("/scores", json={"texts": ["a", "b"]})))
    first.start()
    assert begun.wait(timeout=30)
    refused = client.post("/scores", json={"texts": ["c"]})
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert client.post("/summaries", json={"dialogues": ["hello"]}).status_code == 200, "each kind has room of its own"
    let_go.set()
    first.join()
    assert answers[0].status_code == 200 and len(answers[0].json()["scores"]) == 2
    assert client.post("/scores", json={"texts": ["c"]}).status_code == 200


@pytest.mark.parametrize("error, status", [(TooSlow("late"), 504), (Unavailable("gone"), 503)])
def test_models_that_do_not_answer(client, models, monkeypatch, error, status):
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


def test_no_more_runs_than_may_be(make_client):
    client = make_client("--serve.limits.runs=2")
    ids = [client.post("/runs", json={}).json()["id"] for _ in range(2)]
    refused = client.post("/runs", json={}, headers={"Idempotency-Key": "again"})
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    runs: Runs = client.app.state.runs
    assert {file.stem for file in (runs.root / "requests").iterdir()} == set(ids), "a refused one leaves nothing"
    client.post(f"/runs/{ids[0]}/stop")
    until(client, ids[0], lambda run: run["state"] == "stopped")
    assert client.post("/runs", json={}, headers={"Idempotency-Key": "again"}).status_code == 201


def test_a_run_that_the_cluster_does_not_take_waits_and_says_why_until_it_is_stopped_or_taken(client, monkeypatch):
    runs, submit = client.app.state.runs, client.app.state.runs.jobs.submit

    def refuses(*_):
        raise RunError("the cluster takes no jobs")

    monkeypatch.setattr(runs.jobs, "submit", refuses)
    stopped, taken = (client.post("/runs", json={}).json()["id"] for _ in range(2))
    for run in (stopped, taken):
        assert until(client, run, lambda run: run["message"])["state"] == "queued"
    assert client.post(f"/runs/{stopped}/stop").json()["state"] == "stopped"
    monkeypatch.setattr(runs.jobs, "submit", submit)
    assert until(client, taken, lambda run: run["state"] == "pending")["message"] == ""
    assert list(runs.jobs.commands) == [f"{taken}-1"]


def test_what_did_not_answer_is_forgotten_when_it_does(client, monkeypatch):
    runs = client.app.state.runs
    run = client.post("/runs", json={}).json()["id"]
    until(client, run, lambda run: run["state"] == "pending")
    state = runs.jobs.state

    def fails(name):
        raise RunError("the cluster does not answer")

    monkeypatch.setattr(runs.jobs, "state", fails)
    assert until(client, run, lambda run: run["message"])["state"] == "pending"
    monkeypatch.setattr(runs.jobs, "state", state)
    assert until(client, run, lambda run: not run["message"])["state"] == "pending"
