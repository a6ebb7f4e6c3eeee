"""The app with all its layers, in this process: the cluster is left out, whose part has tests with a real one."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from configs.load import load_config
from service.http.app import make_app
from service.http.keys import SCOPES, Keys, key
from service.http.models.service import Desk
from service.http.runs.presets import Presets
from service.http.runs.service import Runs
from workers.inference.summarizer import Scorer, Summarizer


class Jobs:
    """Takes what the cluster would take; its jobs wait for ever."""

    def __init__(self):
        self.commands, self.states = {}, {}

    def submit(self, name, command):
        self.commands[name] = command
        self.states.setdefault(name, "pending")

    def state(self, name):
        return self.states.get(name)

    def stop(self, name):
        self.states[name] = "stopped"

    def log(self, name):
        return ""


class Models:
    """The models themselves, without replicas."""

    def __init__(self, config):
        self.summarizer, self.scorer, self.one = Summarizer(config), Scorer(config), asyncio.Lock()

    async def summarize(self, adapter, question):
        async with self.one:
            asked = [self.summarizer.tokenize(question)]
            return self.summarizer.summarize(asked, self.summarizer.read(adapter))[0]

    async def score(self, text):
        return self.scorer.score([text])[0]

    def ready(self):
        return {"summaries": 1, "scores": 1}


@pytest.fixture(scope="session")
def models():
    return Models(load_config([]))


@pytest.fixture
def make_client(tmp_path, models):
    """A function: settings of `serve` and a file of keys -> a client of the app, its runs in `tmp_path`."""
    opened = []

    def make(*arguments: str, keys: Path | None = None) -> TestClient:
        config = load_config([f"--serve.folder={tmp_path / 'runs'}", *arguments])
        runs = Runs(config, Presets(config.serve.presets), Jobs())
        app = make_app(config, Keys(keys), runs, Desk(config, models, runs))
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        client.__enter__()
        opened.append((client, runs))
        return client

    yield make
    for client, runs in opened:
        client.__exit__(None, None, None)
        runs.close()


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def served(make_client):
    """A function: a client -> where its app answers on a port, until the test ends."""
    running = []

    def serve(client: TestClient) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        settings = uvicorn.Config(client.app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield serve
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def keys(tmp_path, capsys):
    """A file of keys, and a key by scope that has this scope alone."""
    file, made = tmp_path / "keys.json", {}
    for scope in SCOPES:
        key([str(file), scope, "--scopes", scope])
        made[scope] = capsys.readouterr().out.strip()
    return file, made
