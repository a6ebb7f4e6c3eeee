"""Checks that every request passes before a route sees it: host, origin, key, size, and paths of the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.auth import authenticate, check_scope
from service.http.errors import error_response
from service.http.keys import KeyFile
from service.http.request_log import METHODS
from service.http.security_headers import SecuredResponse

OPEN = frozenset({"/health", "/ready"})
"""Routes that need no key."""
PROBED = OPEN | {"/metrics"}
"""Routes that Kubernetes and Prometheus request by IP address, whatever `serve.hosts` are."""
PAGE = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json)|/(assets|static)(/[\w@-][\w.@-]*)+"
    r"|/gradio_api/(queue/(join|data)|startup-events|heartbeat/\w+|cancel|reset)"
)
"""Gradio's paths that the page needs; its others (uploads, files, proxies) are closed."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class SecurityMiddleware:
    """ASGI middleware: refuses requests that may not be answered and secures all responses."""

    app: ASGIApp
    keys: KeyFile
    hosts: frozenset[str]  # accepted names in the Host header; empty: any
    max_body: int  # bytes
    routes: Sequence[BaseRoute]  # of the API; all other paths belong to the page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with an error."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":  # no route has one
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            response = SecuredResponse(scope, send)
            try:
                self._check(scope)
            except HTTPException as error:
                refusal = error_response(error.status_code, [{"message": error.detail}], error.headers)
                await refusal(scope, receive, response)
            else:
                await self.app(scope, self._limited(receive), response)

    def _limited(self, receive: Receive) -> Receive:
        """`receive` with a limit on the body. FastAPI's own limit would not answer in the form of our errors."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_body:
                raise HTTPException(413, f"the body is too large; the limit is {self.max_body} bytes")
            return message

        return limited

    def _check(self, scope: Scope) -> None:
        """Raises `HTTPException` if the request must be refused."""
        headers = Headers(scope=scope)
        if scope["path"] not in PROBED:
            self._check_host(headers)
        if scope["method"] not in SAFE:
            _check_origin(headers)
        if scope["path"] in OPEN and scope["method"] == "GET":
            return
        key = authenticate(scope, self.keys, headers.get("authorization"))
        match = self._match(scope)
        if match is Match.PARTIAL:  # the router would pass it on to the page
            allowed = [method for method in sorted(METHODS) if self._match({**scope, "method": method}) is Match.FULL]
            allowed += ["HEAD"] if "GET" in allowed else []
            headers = {"Allow": ", ".join(sorted(allowed))}
            raise HTTPException(405, f"method {scope['method']} is not allowed here", headers)
        if match is Match.NONE:
            if not PAGE.fullmatch(scope["path"]):
                raise HTTPException(404, "not found")
            check_scope(key, "read")

    def _check_host(self, headers: Headers) -> None:
        host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
        if self.hosts and host not in self.hosts:
            # DNS rebinding: another site could point its own name at this service and read the responses.
            raise HTTPException(421, f"this service does not serve the host {host!r}; add it to serve.hosts")

    def _match(self, scope: Scope) -> Match:
        """How well the API's routes match the request; `PARTIAL`: one exists, but for other methods only."""
        return max((route.matches(scope)[0] for route in self.routes), key=lambda match: match.value)


def _check_origin(headers: Headers) -> None:
    origin = headers.get("origin", "")
    if origin and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        raise HTTPException(403, "cross-origin request refused")
