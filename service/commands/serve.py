"""`ray_job.py serve`: runs and models over HTTP, with a page."""

import gc
import ipaddress
import os
import socket
import sys
import threading
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from configs.errors import UsageError
from configs.installation import CODE, COMMAND
from configs.schema import Config
from configs.service import ServeConfig
from service.http.keys import KeyFile
from service.http.runs.paths import RunPaths
from service.http.runs.presets import Presets
from service.http.runs.store import RunStore

if TYPE_CHECKING:
    from service.http.server import Server

EXTRA = ("fastapi", "uvicorn", "python_multipart", "fastapi_offline", "prometheus_client", "pythonjsonlogger")
"""Packages of the extra `service`, which the other commands do without."""
GRACE = 30.0
"""Seconds to stop the models and leave the cluster."""


def serve(config: Config) -> None:
    """Serve until interrupted. Raises `UsageError` for settings that cannot work, `RunError` if it fails."""
    check_extra()
    check_address(config.serve)
    keys = KeyFile(Path(config.serve.keys) if config.serve.keys else None)
    presets = Presets(config.serve.presets, config.serve.reward_models)
    store = RunStore(RunPaths(Path(config.serve.folder).absolute()))
    with closing(store), listen(config.serve.host, config.serve.port) as listening:
        from service.http.request_log import log_to_stderr
        from service.http.server import Server

        log_to_stderr()
        with Server(listening) as server:
            try:
                _serve(config, keys, presets, store, server)
            except KeyboardInterrupt:
                print("stopped; runs on a cluster that was already running continue", file=sys.stderr)


def _serve(config: Config, keys: KeyFile, presets: Presets, store: RunStore, server: "Server") -> None:
    """Load everything while the server already answers, and serve it."""
    starting = server.starting
    starting.wait_for("loading libraries")  # the imports below take seconds
    from cluster.jobs import Jobs
    from cluster.preflight.preflight import check_serving
    from cluster.ray_cluster import connected
    from cluster.serving.deployment import serving_models
    from service.http.app import make_app
    from service.http.campaigns.service import CampaignService
    from service.http.models.service import ModelService
    from service.http.runs.service import RunService
    from service.page.pages import add_pages
    from service.run.progress import Display, silence_libraries

    silence_libraries()
    display = Display(Console(stderr=True))
    with ExitStack() as stack:
        with display.phase(starting.wait_for("checking the models")):
            check_serving(config)
        with display.phase(starting.wait_for("starting Ray")):
            machines = stack.enter_context(connected(config.cluster.address, serves=True))
        with display.phase(starting.wait_for("starting the models")):
            client = stack.enter_context(serving_models(config, machines, store.name))
        runs = stack.enter_context(closing(RunService(store, config.serve.limits, presets, Jobs(CODE))))
        models = ModelService(client, runs, config.policy, config.reward, config.serve)
        campaigns = CampaignService(store.paths.root, config.data, models, config.serve.limits.campaigns)
        stack.callback(campaigns.close)
        app = make_app(config.serve, keys, runs, models, campaigns)
        add_pages(app)
        stack.callback(server.stop)  # before all else: open requests finish while there are models
        stack.callback(_leave_within(GRACE).start)
        gc.collect()
        gc.freeze()  # the libraries' objects: looking through them again and again takes a third of the time under load
        starting.app = app
        server.start_soon(campaigns.prepare)
        host, port = server.listening.getsockname()[:2]
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        server.wait()


def _leave_within(seconds: float) -> threading.Timer:
    """A timer that ends this process: Ray's calls wait for ever if the cluster is lost."""

    def leave() -> None:
        print(f"error: the cluster did not respond within {seconds:g} s; leaving it as it is", file=sys.stderr)
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    return timer


def check_extra() -> None:
    """Raises `UsageError` if packages of the service are not installed."""
    if missing := [name for name in EXTRA if not find_spec(name)]:
        raise UsageError(
            f'serve: not installed: {", ".join(missing)}; install them with: pip install "seqrlhf[service]"'
        )


def check_address(settings: ServeConfig) -> None:
    """Raises `UsageError` if other machines could reach the service without a key."""
    if settings.keys:
        return
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    if not loopback:
        raise UsageError(
            f"serve.host: other machines can reach {settings.host}, and the service has no keys; create one with "
            f"`{COMMAND} key create keys.json NAME --scopes read,generate,submit` and pass --serve.keys keys.json"
        )


def listen(host: str, port: int) -> socket.socket:
    """Bind the port before anything is started. Raises `UsageError` if that fails."""
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(
            f"serve.host, serve.port: cannot listen on {host}:{port}: {error.strerror or error}"
        ) from error
