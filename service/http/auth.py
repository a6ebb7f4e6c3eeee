"""Authentication and authorisation: who sends a request, and the scope that each route needs.

`SecurityMiddleware` authenticates every request and keeps its key in the request's state; routes declare a scope.
"""

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.http.keys import SCOPES, ApiKey, InvalidKey, KeyFile

# In headers of their own: Chromium understands one challenge per header.
CHALLENGES = ('Basic realm="seqrlhf: any name, the key as password", charset="UTF-8"', "Bearer")
"""Values of the WWW-Authenticate headers of a response without a valid key."""
DESCRIBED = HTTPBearer(scheme_name="key", auto_error=False, description="A key made by `ray_job.py key create`.")
"""Puts the scheme and each route's scope into the OpenAPI document; it checks nothing."""


def authenticate(scope: Scope, keys: KeyFile, authorization: str | None) -> ApiKey:
    """The key of a request, also stored in the request's state. Raises `HTTPException` 401."""
    try:
        key = keys.authenticate(authorization)
    except InvalidKey as error:
        raise HTTPException(401, str(error)) from error
    scope.setdefault("state", {})["key"] = key
    return key


def check_scope(key: ApiKey, scope: str) -> None:
    """Raises `HTTPException` 403 if the key lacks the scope."""
    if scope not in key.scopes:
        raise HTTPException(403, f"this key lacks the scope {scope!r}")


def _key_with_scope(request: Request, needed: SecurityScopes, _: Annotated[Any, Depends(DESCRIBED)]) -> ApiKey:
    request.state.needed_scopes = needed.scopes
    for scope in needed.scopes:
        check_scope(request.state.key, scope)
    return request.state.key


def requires(scope: str) -> Any:
    """FastAPI dependency: a key with this scope."""
    return Security(_key_with_scope, scopes=[scope])


Reader, Generator, Annotator, Submitter = (Annotated[ApiKey, requires(scope)] for scope in SCOPES)
"""Types for a route's parameter `key`: each requires a scope."""
