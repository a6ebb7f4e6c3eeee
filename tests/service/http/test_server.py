"""The server itself: it answers while models load, and stops in order with clients still connected."""

import asyncio
import json
import os
import signal
import socket
import threading

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from configs.errors import RunError
from service.http.server import SHUTDOWN, Server, StartingApp
from tests.service.http.test_fuzz import finish


@pytest.fixture
def server():
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, Server(listening) as server:
        yield server


def address(server, path=""):
    return f"http://127.0.0.1:{server.listening.getsockname()[1]}{path}"


def test_it_answers_before_the_models_are_loaded_and_says_what_it_waits_for(server, client):
    assert httpx.get(address(server, "/health")).json() == {"status": "ok"}
    server.starting.wait_for("starting the models")
    ready = httpx.get(address(server, "/ready"))
    assert ready.status_code == 503 and ready.json()["waiting_for"] == ["starting the models"]
    assert httpx.head(address(server, "/health")).status_code == 200
    for path in ("/runs", "/", "/nothing"):
        early = httpx.get(address(server, path))
        assert early.status_code == 503 and "Retry-After" in early.headers
        assert early.json()["errors"][0]["message"] == "the service is not ready yet: starting the models"
    server.starting.app = client.app
    assert httpx.get(address(server, "/ready")).status_code == 200 == httpx.get(address(server, "/runs")).status_code


def test_event_streams_end_in_order_when_the_service_stops(server, client, capfd):
    server.starting.app = client.app
    run, following, events = finish(client, "running"), threading.Event(), []
    client.app.state.runs.jobs.states[f"{run}-1"] = "running"

    def follow():
        with httpx.stream("GET", address(server, f"/runs/{run}/events")) as lines:
            for line in lines.iter_lines():
                events.append(line)
                following.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert following.wait(timeout=30)
    closing = client.app.state.closing
    client.app.state.closing = type("", (), {"set": lambda _: (closing.set(), events.append("closing"))})()
    server.stop()
    thread.join(timeout=SHUTDOWN)
    assert not thread.is_alive()
    assert events.index("closing") < events.index("event: end"), events
    last = json.loads(next(line for line in reversed(events) if line.startswith("data: "))[6:])
    assert last["id"] == run and last["state"] == "running"
    assert "Traceback" not in capfd.readouterr().err


def test_an_interrupted_service_finishes_the_requests_that_are_open(server, client, models, monkeypatch):
    """It did not: a thread that was interrupted in join() seems to have ended to the next join()."""
    server.starting.app, score, started, answers = client.app, models.score, threading.Event(), []

    async def slow(text):
        started.set()
        await asyncio.sleep(1)
        return await score(text)

    monkeypatch.setattr(models, "score", slow)
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(address(server, "/scores"), json={"texts": ["a"]}, timeout=30))
    )

    def interrupt():
        assert started.wait(timeout=30)
        os.kill(os.getpid(), signal.SIGINT)

    asking.start()
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        server.wait()
    server.stop()
    asking.join()
    assert answers[0].status_code == 200


def test_a_request_that_does_not_end_is_told_to_come_back_without_a_traceback(
    server, client, models, monkeypatch, caplog
):
    server.starting.app, started = client.app, threading.Event()
    server.config.timeout_graceful_shutdown = 0.2

    async def never(*_):
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(models, "score", never)

    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(address(server, "/scores"), json={"texts": ["a"]}, timeout=30))
    )
    asking.start()
    assert started.wait(timeout=30)
    server.stop()
    asking.join()
    assert answers[0].status_code == 503 and answers[0].headers["retry-after"] == "5"
    assert answers[0].json()["errors"] == [{"message": "the service is stopping"}]
    assert not [record for record in caplog.records if record.exc_info], caplog.text


def test_a_server_that_ends_by_itself_is_reported(server):
    server.should_exit = True
    with pytest.raises(RunError, match="ended unexpectedly"):
        server.wait()


def test_a_websocket_is_refused_while_models_load():
    with pytest.raises(WebSocketDisconnect), TestClient(StartingApp()).websocket_connect("/runs"):
        pass
