"""`ray_job.py serve`: runs and models over HTTP, with a page."""

import ipaddress
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.errors import UsageError
from configs.installation import CODE, COMMAND
from configs.schema import Config
from configs.service import ServeConfig
from service.http.keys import KeyFile
from service.http.runs.presets import Presets
from service.run.progress import Display, silence_libraries

EXTRA = ("fastapi", "uvicorn", "python_multipart", "fastapi_offline", "prometheus_client", "pythonjsonlogger")
"""Packages of the extra `service`, which the other commands do without."""
SHUTDOWN = 5
"""Seconds that open requests get to finish when the service ends."""


def serve(config: Config) -> None:
    """Serve until interrupted. Raises `UsageError` for settings that cannot work, `RunError` if it fails to start."""
    check_extra()
    silence_libraries()
    settings = config.serve
    keys = KeyFile(Path(settings.keys) if settings.keys else None)
    check_address(settings)
    presets = Presets(settings.presets)
    with listen(settings.host, settings.port) as listening:
        _serve(config, keys, presets, listening)


def _serve(config: Config, keys: KeyFile, presets: Presets, listening: socket.socket) -> None:
    # Imported once the settings are known to be valid: this takes seconds.
    from cluster.jobs import Jobs
    from cluster.preflight.preflight import check_serving
    from cluster.ray_cluster import connected
    from cluster.serving.deployment import start_models
    from service.http.app import make_app
    from service.http.models.service import ModelService
    from service.http.runs.service import RunService
    from service.page.pages import add_pages

    display, settings = Display(Console(stderr=True)), config.serve
    with display.phase("checking the models"):
        check_serving(config)
    display.say("starting Ray and the models")
    with connected(config.cluster.address, dashboard=True) as machines:
        with display.phase("starting the models"):
            client = start_models(config, machines)
        runs = RunService(Path(settings.folder), settings.limits.runs, presets, Jobs(CODE))
        models = ModelService(client, runs, settings.limits, config.policy.model, config.reward)
        try:
            app = make_app(settings, keys, runs, models)
            add_pages(app)
            _answer(app, listening)
        except KeyboardInterrupt:
            display.say("stopped; runs on a cluster that was already running continue")
        finally:
            runs.close()
            client.stop()


def _answer(app: Any, listening: socket.socket) -> None:
    """Print the address and answer requests until interrupted."""
    import uvicorn

    from service.http.request_log import log_to_stderr

    log_to_stderr()
    host, port = listening.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    options = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=SHUTDOWN, server_header=False
    )
    uvicorn.Server(options).run(sockets=[listening])


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
            f"`{COMMAND} key keys.json NAME --scopes read,generate,submit` and pass --serve.keys keys.json"
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
