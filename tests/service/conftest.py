"""The app with all its middleware, in this process, on a fake cluster; test_serve has a real one."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cluster.serving.deployment import summarizer_settings
from configs.load import load_config
from configs.schema import Config
from service.commands.key import key
from service.http.app import make_app
from service.http.campaigns.service import CampaignService
from service.http.keys import SCOPES, KeyFile
from service.http.models.service import ModelService
from service.http.runs.paths import RunPaths
from service.http.runs.presets import Presets
from service.http.runs.service import RunService
from service.http.runs.store import RunStore
from service.page.pages import add_pages
from tests.conftest import scorer_settings
from workers.inference.scorer import Scorer
from workers.inference.summarizer import Summarizer


class Jobs:
    """Accepts jobs as the cluster would; they stay pending."""

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
        self.summarizer, self.scorer, self.lock = (
            Summarizer(summarizer_settings(config)),
            Scorer(scorer_settings(config)),
            asyncio.Lock(),
        )

    async def summarize(self, adapter, question):
        async with self.lock:
            tokenized = [self.summarizer.tokenize(question)]
            return self.summarizer.summarize(tokenized, self.summarizer.read(adapter))[0]

    async def score(self, item):
        return self.scorer.score([item])[0]

    def ready(self):
        return {"summaries": 1, "scores": 1}


def make_service(config: Config, models: Models | None, keys: Path | None = None) -> FastAPI:
    """The app with its pages, as `serve` makes it."""
    settings = config.serve
    store = RunStore(RunPaths(Path(settings.folder)))
    runs = RunService(store, settings.limits, Presets(settings.presets, settings.reward_models), Jobs())
    service = ModelService(models, runs, config.policy, config.reward, settings)
    campaigns = CampaignService(store.paths.root, config.data, service, settings.limits.campaigns)
    app = make_app(settings, KeyFile(keys), runs, service, campaigns)
    add_pages(app)
    return app


def close_service(app: FastAPI) -> None:
    """Close what the app has open."""
    app.state.campaigns.close()
    app.state.runs.close()
    app.state.runs.store.close()


@pytest.fixture(scope="session")
def models():
    return Models(load_config([]))


@pytest.fixture
def make_client(tmp_path, models):
    """A function: arguments and a key file -> a client of the app, whose runs are in `tmp_path`."""
    opened = []

    def make(*arguments: str, keys: Path | None = None) -> TestClient:
        app = make_service(load_config([f"--serve.folder={tmp_path / 'runs'}", *arguments]), models, keys)
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)
        close_service(client.app)


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def served(make_client):
    """A function: a client -> the address at which its app listens until the test ends."""
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
    """A key file, and by scope a key with this scope only."""
    file, made = tmp_path / "keys.json", {}
    for scope in SCOPES:
        key(["create", str(file), scope, "--scopes", scope, f"--serve.folder={tmp_path / 'runs'}"])
        made[scope] = capsys.readouterr().out.strip()
    return file, made
