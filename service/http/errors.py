"""Errors as clients get them: always JSON, always with what is wrong and, where there is one, the field."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cluster.serving.models import TooSlow, Unavailable
from configs.errors import RunError, UsageError
from service.http.models.service import Busy
from service.http.request_log import log, request_id
from service.http.runs.service import Conflict, TooMany
from workers.inference.summarizer import TooLong


class Missing(Exception):
    """What is asked for is not there."""


STATUS: dict[type[Exception], tuple[int, int | None]] = {
    UsageError: (422, None),
    TooLong: (422, None),
    Missing: (404, None),
    Conflict: (409, None),
    TooMany: (429, 30),
    Busy: (429, 1),
    RunError: (503, 5),
    Unavailable: (503, 5),
    TooSlow: (504, None),
}
"""What each error of ours is in HTTP, and after how many seconds it is worth asking again."""


def add_handlers(app: FastAPI) -> None:
    """Have every error told in the same form."""
    for kind in STATUS:
        app.add_exception_handler(kind, _own)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def told(status: int, errors: Sequence[dict[str, str]], headers: dict[str, str] | None = None) -> JSONResponse:
    """The one form of an error. Characters that no text can have are told as escapes."""
    clean = [{key: value.encode("utf-8", "backslashreplace").decode() for key, value in e.items()} for e in errors]
    return JSONResponse({"errors": clean, "request_id": request_id.get()}, status, headers)


def described(problem: str) -> dict[str, str]:
    """A sentence that may begin with the name of a field."""
    field, colon, message = problem.partition(": ")
    return {"field": field, "message": message} if colon and " " not in field else {"message": problem}


async def _own(request: Request, error: Exception) -> JSONResponse:
    status, wait = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    problems = error.problems if isinstance(error, UsageError) else [str(error)]
    return told(status, [described(p) for p in problems], {"Retry-After": str(wait)} if wait else None)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    # The values themselves stay out: a NaN or half a surrogate pair cannot be told in JSON.
    errors: list[dict[str, Any]] = [
        {"field": ".".join(map(str, detail["loc"])), "message": detail["msg"]} for detail in error.errors()
    ]
    return told(422, errors)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    return told(error.status_code, [{"message": str(error.detail)}], dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error)
    return told(500, [{"message": "something went wrong here; the log has it under this request_id"}])
