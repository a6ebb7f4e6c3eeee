"""The server: it answers from the first second, while models load, and ends event streams before it stops."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from configs.errors import RunError

SHUTDOWN = 5
"""Seconds that open requests get to finish when the service ends."""
RETRY = {"Retry-After": "5"}


class StartingApp:
    """ASGI app that passes requests on to `app` once that is set. Before, only /health and /ready are answered."""

    def __init__(self) -> None:
        self.app: Starlette | None = None
        self.phase = "starting"

    def wait_for(self, phase: str) -> str:
        """Say what the service is waiting for; returns it."""
        self.phase = phase
        return phase

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self.app:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope["path"].rpartition("/")[2])(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    def _answer(self, name: str) -> JSONResponse:
        """The answer by the last part of the path: a proxy may have put `serve.root_path` before it."""
        if name == "health":
            return JSONResponse({"status": "ok"})
        if name == "ready":
            return JSONResponse({"ready": False, "waiting_for": [self.phase], "replicas": {}}, 503, RETRY)
        return JSONResponse(
            {"errors": [{"message": f"the service is not ready yet: {self.phase}"}], "request_id": ""}, 503, RETRY
        )


class _Unfinished(logging.Filter):
    """Keeps tracebacks of requests that were still open at the end out of the log; uvicorn counts them in a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class Server(uvicorn.Server):
    """A server that runs in a thread while the context is open."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening, self.starting = listening, StartingApp()
        options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "lifespan": "off"}
        logging.getLogger("uvicorn.error").addFilter(_Unfinished())
        super().__init__(uvicorn.Config(self.starting, timeout_graceful_shutdown=SHUTDOWN, **options))
        self.thread = threading.Thread(target=self._run_in_thread, name="server")
        self.loop: asyncio.AbstractEventLoop | None = None
        self.answering, self.ended = threading.Event(), threading.Event()

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait until interrupted. Raises `RunError` if the server ends by itself."""
        self.ended.wait()  # not join(): interrupted once, it no longer waits when called again
        raise RunError("the server ended unexpectedly; the log says why")

    def start_soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the loop that answers requests."""
        self.answering.wait()
        if self.loop:
            asyncio.run_coroutine_threadsafe(work(), self.loop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; from then on `start_soon` finds the loop."""
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.answering.set()

    def stop(self) -> None:
        """Stop accepting requests, and wait for those that are open."""
        self.should_exit = True
        self.ended.wait()

    def _run_in_thread(self) -> None:
        try:
            self.run([self.listening])
        finally:
            self.ended.set()
            self.answering.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but event streams end at once."""
        if self.starting.app:
            self.starting.app.state.closing.set()
        await super().shutdown(sockets)
