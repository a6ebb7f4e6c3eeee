"""`ray_job.py serve`: runs and models over HTTP, with a page."""

import ipaddress
import os
import socket
from pathlib import Path

import uvicorn
from rich.console import Console

from configs.errors import UsageError
from configs.load import PRESETS
from configs.schema import Config
from service.http.keys import Keys
from service.http.runs.presets import Presets
from service.run.progress import Display, silence_libraries

SHUTDOWN = 5
"""Seconds in which answers under way may be finished when the service ends."""


def serve(config: Config) -> None:
    """Serve until interrupted. Raises `UsageError` before anything starts, `RunError` where it cannot start."""
    silence_libraries()
    display = Display(Console(stderr=True))
    keys = Keys(Path(config.serve.keys) if config.serve.keys else None)
    check_address(config)
    presets = Presets(config.serve.presets)
    with listen(config) as listening:
        # Loaded only where everything else is right: they take seconds.
        from cluster.jobs import Jobs
        from cluster.pools.ray_pools import connected
        from cluster.preflight.preflight import check_serving
        from cluster.serving.models import start_models
        from service.http.models.service import Desk
        from service.http.runs.service import Runs

        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from service.http.app import make_app
        from service.http.request_log import log_to_stderr

        with display.phase("checking the models"):
            check_serving(config)
        display.say("starting Ray and the models")
        with connected(config.cluster.address, dashboard=True) as machines:
            with display.phase("starting the models"):
                models = start_models(config, machines)
            runs = Runs(config, presets, Jobs(PRESETS.parent))
            try:
                app = make_app(config, keys, runs, Desk(config, models, runs))
                log_to_stderr()
                host, port = listening.getsockname()[:2]
                print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
                settings = uvicorn.Config(
                    app, log_config=None, access_log=False, timeout_graceful_shutdown=SHUTDOWN, server_header=False
                )
                uvicorn.Server(settings).run(sockets=[listening])
            except KeyboardInterrupt:
                display.say("stopped; runs on another machine's Ray go on")
            finally:
                runs.close()
                models.stop()


def check_address(config: Config) -> None:
    """Raises `UsageError` where others could reach the service without a key."""
    if config.serve.keys:
        return
    try:
        loopback = ipaddress.ip_address(config.serve.host).is_loopback
    except ValueError:
        loopback = config.serve.host == "localhost"
    if not loopback:
        raise UsageError(
            f"serve.host: {config.serve.host} can be reached by others, and there are no keys; make one by "
            f"`python ray_job.py key keys.json NAME --scopes read,generate,submit` and give --serve.keys keys.json"
        )


def listen(config: Config) -> socket.socket:
    """Take the port before anything is started for it. Raises `UsageError` where it is taken."""
    host, port = config.serve.host, config.serve.port
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(
            f"serve.host, serve.port: cannot listen on {host}:{port}: {error.strerror or error}"
        ) from error
