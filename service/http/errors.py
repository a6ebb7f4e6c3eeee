"""Error responses: JSON with the message of each problem and, if one is at fault, the field."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cluster.serving.client import TooSlow, Unavailable
from configs.errors import RunError, UsageError
from service.http.models.turns import Busy
from service.http.request_log import log, request_id
from service.http.runs.service import Conflict, TooManyRuns
from workers.inference.summarizer import TooLong


class NotFound(Exception):
    """The requested run or file does not exist."""


STATUS: dict[type[Exception], tuple[int, int | None]] = {
    UsageError: (422, None),
    TooLong: (422, None),
    NotFound: (404, None),
    Conflict: (409, None),
    TooManyRuns: (429, 30),
    Busy: (429, 1),
    RunError: (503, 5),
    Unavailable: (503, 5),
    TooSlow: (504, None),
    OSError: (503, 30),
    ClientDisconnect: (499, None),
}
"""HTTP status of each of our errors, and Retry-After in seconds if retrying makes sense. 499, which only the log sees,
is nginx's status for a client that has left."""


def add_handlers(app: FastAPI) -> None:
    """Give all errors of the app the same form."""
    for kind in STATUS:
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)


def error_response(
    status: int, errors: Sequence[dict[str, str]], headers: dict[str, str] | None = None
) -> JSONResponse:
    """The form of every error. Lone surrogates, which UTF-8 cannot encode, become escapes."""
    clean = [{key: value.encode("utf-8", "backslashreplace").decode() for key, value in e.items()} for e in errors]
    return JSONResponse({"errors": clean, "request_id": request_id.get()}, status, headers)


def split_field(problem: str) -> dict[str, str]:
    """Field and message of a problem, which may start with the name of a field."""
    field, colon, message = problem.partition(": ")
    return {"field": field, "message": message} if colon and " " not in field else {"message": problem}


async def _known_error(request: Request, error: Exception) -> JSONResponse:
    status, wait = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    problems = error.problems if isinstance(error, UsageError) else [str(error)]
    if isinstance(error, OSError):
        log.error("cannot read or write", exc_info=error)
        problems = [f"the service cannot read or write its folder: {error.strerror}"]  # without the path
    return error_response(status, [split_field(p) for p in problems], {"Retry-After": str(wait)} if wait else None)


async def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    # The values themselves are left out: JSON can hold neither NaN nor a lone surrogate.
    errors: list[dict[str, Any]] = [
        {"field": ".".join(map(str, detail["loc"])), "message": detail["msg"]} for detail in error.errors()
    ]
    return error_response(422, errors)


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    return error_response(error.status_code, [{"message": str(error.detail)}], dict(error.headers or {}))


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error)
    return error_response(500, [{"message": "internal error; the log has details under this request_id"}])
