"""Log and metrics of requests. Each request has an id, which is in all its log lines and its response."""

import asyncio
import logging
import re
import secrets
import sys
import time
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.metrics import count_request

log = logging.getLogger("seqrlhf.service")
request_id: ContextVar[str] = ContextVar("request_id", default="")
run_id: ContextVar[str] = ContextVar("run_id", default="")
VALID_ID = re.compile(rb"[\w.-]{1,64}")
QUIET = ("/page/runs", "/page/static/", "/docs/files", "/runs/{run}/steps", "/health", "/ready", "/metrics")
"""Routes that are polled, or fetched several times by each page: GET requests are logged at debug level only."""
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})


def log_to_stderr() -> None:
    """Write the log as JSON lines to standard error, each with the ids of its request and run."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("{message}", style="{", rename_fields={"message": "event"}, timestamp=True))
    handler.addFilter(_add_ids)
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def _add_ids(record: logging.LogRecord) -> bool:
    record.level = record.levelname.lower()
    for name, variable in (("request_id", request_id), ("run_id", run_id)):
        if value := variable.get():
            setattr(record, name, value)
    return True


class RequestLogMiddleware:
    """ASGI middleware: logs and counts every request. The outermost one, so that refused requests count too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then log and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), None
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id.set(given.decode() if VALID_ID.fullmatch(given) else secrets.token_hex(8))

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.get().encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server ends, and no longer waits for this request
            if status:
                raise
            problem = {"errors": [{"message": "the service is stopping"}], "request_id": request_id.get()}
            await JSONResponse(problem, 503, {"Retry-After": "5"})(scope, receive, send_with_id)
        finally:
            _report(scope, status or 500, time.perf_counter() - started)


def _report(scope: Scope, status: int, seconds: float) -> None:
    # By route, not by path, and by known methods: clients must not be able to create ever more series.
    route = getattr(scope.get("route"), "path", "") or "none"
    method = scope["method"] if scope["method"] in METHODS else "other"
    count_request(method, route, status, seconds)
    run_id.set(scope.get("path_params", {}).get("run", ""))
    level = logging.DEBUG if method == "GET" and route.startswith(QUIET) else logging.INFO
    key = getattr(scope.get("state", {}).get("key"), "name", None)
    facts = {"method": method, "route": route, "status": status, "ms": round(1e3 * seconds, 1), "key": key}
    log.log(level, "request", extra=facts)
