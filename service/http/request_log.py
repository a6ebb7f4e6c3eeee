"""What the service tells of itself: a log line and figures for every request, with an id that all its lines carry."""

import logging
import re
import secrets
import sys
import time
from contextvars import ContextVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("seqrlhf.service")
request_id: ContextVar[str] = ContextVar("request_id", default="")
run_id: ContextVar[str] = ContextVar("run_id", default="")
GIVEN = re.compile(rb"[\w.-]{1,64}")
QUIET = ("/gradio_api/", "/assets/", "/static/", "/health", "/ready", "/metrics")
"""Routes that are asked all the time, or by each page for dozens of files."""
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

registry = CollectorRegistry()
requests = Counter("seqrlhf_requests", "Answered requests", ["method", "route", "status"], registry=registry)
latency = Histogram(
    "seqrlhf_request_seconds", "Time to answer", ["method", "route"], buckets=SECONDS, registry=registry
)
texts = Counter("seqrlhf_texts", "Texts that models answered", ["kind"], registry=registry)


def log_to_stderr() -> None:
    """JSON lines, each with the ids of request and run that it belongs to."""
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


class Observed:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and tell of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id.set(given.decode() if GIVEN.fullmatch(given) else secrets.token_hex(8))

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.get().encode())]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            self._tell(scope, status, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        # By route, not by path, and by methods that there are: a client must not be able to make ever more series.
        route = getattr(scope.get("route"), "path", "") or "page"
        method = scope["method"] if scope["method"] in METHODS else "other"
        requests.labels(method, route, status).inc()
        latency.labels(method, route).observe(seconds)
        run_id.set(scope.get("path_params", {}).get("run", ""))
        level = logging.DEBUG if route.startswith(QUIET) else logging.INFO
        log.log(
            level,
            "request",
            extra={"method": method, "route": route, "status": status, "ms": round(1e3 * seconds, 1),
                   "key": getattr(scope.get("state", {}).get("holder"), "name", None)},
        )  # fmt: skip
