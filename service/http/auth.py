"""Authentication and authorisation: who sends a request, and the scope that each route needs.

`SecurityMiddleware` authenticates every request and keeps its key in the request's state; routes declare a scope.
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.http.keys import ApiKey, KeyFile

# In headers of their own: Chromium understands one challenge per header.
CHALLENGES = ('Basic realm="seqrlhf: any name, the key as password", charset="UTF-8"', "Bearer")
"""Values of the WWW-Authenticate headers of a response without a valid key."""


def authenticate(scope: Scope, keys: KeyFile, authorization: str | None) -> ApiKey:
    """The key of a request, also stored in the request's state. Raises `HTTPException` 401."""
    key = keys.authenticate(authorization)
    if key is None:
        raise HTTPException(401, "missing or unknown key; send Authorization: Bearer KEY")
    scope.setdefault("state", {})["key"] = key
    return key


def check_scope(key: ApiKey, scope: str) -> None:
    """Raises `HTTPException` 403 if the key lacks the scope."""
    if scope not in key.scopes:
        raise HTTPException(403, f"this key lacks the scope {scope!r}")


def requires(scope: str) -> Any:
    """FastAPI dependency: a key with this scope."""

    def check(request: Request) -> ApiKey:
        check_scope(request.state.key, scope)
        return request.state.key

    check.scope = scope
    return Depends(check)


Reader, Generator, Submitter = (Annotated[ApiKey, requires(scope)] for scope in ("read", "generate", "submit"))
"""Types for a route's parameter `key`: each requires a scope."""
