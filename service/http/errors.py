"""Error responses: the message of each problem and, if one is at fault, the field. As JSON, or as HTML for a page."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from cluster.serving.client import TooSlow, Unavailable
from configs.errors import RunError, UsageError
from service.campaigns.records import Refused, TooManyCampaigns
from service.http.models.turns import Busy
from service.http.request_log import METHODS, log, request_id
from service.http.root_path import inside
from service.http.runs.service import Conflict, TooManyRuns
from service.http.runs.streams import TooManyStreams
from workers.inference.summarizer import TooLong


class NotFound(Exception):
    """What was requested does not exist."""


STATUS: dict[type[Exception], tuple[int, int | None]] = {
    UsageError: (422, None),
    TooLong: (422, None),
    NotFound: (404, None),
    Conflict: (409, None),
    Refused: (409, None),
    TooManyRuns: (429, 30),
    TooManyCampaigns: (429, 30),
    TooManyStreams: (429, 5),
    Busy: (429, 1),
    RunError: (503, 5),
    Unavailable: (503, 5),
    TooSlow: (504, None),
    TimeoutError: (504, None),
    OSError: (503, 30),
    ClientDisconnect: (499, None),
}
"""HTTP status of each of our errors, and Retry-After in seconds if retrying makes sense. 499, which only the log sees,
is nginx's status for a client that has left."""
PAGE = re.compile(r"/|/docs|/(page|annotate)(/.*)?", re.DOTALL)
"""Paths of pages."""


def add_handlers(app: FastAPI) -> None:
    """Give all errors of the app the same form."""
    for kind in STATUS:
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def error_response(
    scope: Scope, status: int, errors: Sequence[dict[str, str]], headers: Mapping[str, str] | None = None
) -> Response:
    """The form of every error. Lone surrogates, which UTF-8 cannot encode, become escapes."""
    clean = [{key: value.encode("utf-8", "backslashreplace").decode() for key, value in e.items()} for e in errors]
    if PAGE.fullmatch(inside(scope)):
        return scope["app"].state.error_page(scope, status, clean, headers)
    return JSONResponse({"errors": clean, "request_id": request_id.get()}, status, headers)


def status_of(error: Exception) -> tuple[int, dict[str, str]]:
    """HTTP status and headers of one of our errors."""
    status, wait = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return status, {"Retry-After": str(wait)} if wait else {}


def problems_of(error: Exception) -> list[dict[str, str]]:
    """Field and message of each problem of one of our errors."""
    problems = error.problems if isinstance(error, UsageError) else [str(error)]
    if isinstance(error, OSError) and error.strerror:  # without the path
        problems = [f"the service cannot read or write its folder: {error.strerror}"]
    return [split_field(problem) for problem in problems]


def split_field(problem: str) -> dict[str, str]:
    """Field and message of a problem, which may start with the name of a field."""
    field, colon, message = problem.partition(": ")
    return {"field": field, "message": message} if colon and " " not in field else {"message": problem}


async def _known_error(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError):
        log.error("cannot read or write", exc_info=error)
    status, headers = status_of(error)
    return error_response(request.scope, status, problems_of(error), headers)


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    # The values themselves are left out: JSON can hold neither NaN nor a lone surrogate.
    errors: list[dict[str, Any]] = [
        {"field": ".".join(map(str, detail["loc"])), "message": detail["msg"]} for detail in error.errors()
    ]
    return error_response(request.scope, 422, errors)


async def _http_error(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if "Allow" in headers:  # by Starlette: only the methods of one of the routes with this path
        headers["Allow"] = ", ".join(_allowed(request.scope))
    return error_response(request.scope, error.status_code, [{"message": str(error.detail)}], headers)


def _allowed(scope: Scope) -> list[str]:
    """The methods that any route with this path has; HEAD is answered wherever GET is."""
    routes, asked = scope["app"].routes, {"HEAD": "GET"}
    return [
        method
        for method in sorted(METHODS)
        if any(route.matches({**scope, "method": asked.get(method, method)})[0] is Match.FULL for route in routes)
    ]


def unexpected_error(scope: Scope, error: Exception) -> Response:
    """Log an error that nobody expected; the response says where to look."""
    log.error("unexpected error", exc_info=error)
    return error_response(scope, 500, [{"message": "internal error; the log has details under this request_id"}])
