"""Checks that every request passes before a route sees it: host, origin, key and size."""

import ipaddress
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.errors import UsageError
from service.http.auth import CHALLENGES, authenticate
from service.http.errors import error_response, unexpected_error
from service.http.keys import KeyFile
from service.http.request_log import log
from service.http.root_path import inside
from service.http.security_headers import SecuredResponse

OPEN = frozenset({"/health", "/ready"})
"""Routes that need no key."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site for requests by our own pages, and by the user, such as from the address bar."""


@dataclass(frozen=True)
class SecurityMiddleware:
    """ASGI middleware: refuses requests that may not be answered and secures all responses."""

    app: ASGIApp
    keys: KeyFile
    hosts: frozenset[str]  # accepted names in the Host header; empty: any
    origins: frozenset[str]  # names of the service that a proxy may not pass on in the Host header
    max_body: int  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with an error."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":  # no route has one
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            response = SecuredResponse(send)
            try:
                self._check(scope)
            except HTTPException as error:
                refusal = error_response(scope, error.status_code, [{"message": error.detail}])
                for challenge in CHALLENGES if error.status_code == 401 else ():
                    refusal.headers.append("WWW-Authenticate", challenge)
                await refusal(scope, receive, response)
            except UsageError as error:
                log.error("%s", error)
                refusal = [{"message": "the keys of this service cannot be read; its log says why"}]
                await error_response(scope, 503, refusal)(scope, receive, response)
            else:
                await self._answer(scope, self._limited(receive), response)

    async def _answer(self, scope: Scope, receive: Receive, response: SecuredResponse) -> None:
        try:
            await self.app(scope, receive, response)
        except Exception as error:
            if response.started:
                raise
            await unexpected_error(scope, error)(scope, receive, response)

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
        self._check_host(headers)
        if scope["method"] not in SAFE:
            self._check_origin(headers)
        if inside(scope) not in OPEN or scope["method"] != "GET":
            authenticate(scope, self.keys, headers.get("authorization"))

    def _check_host(self, headers: Headers) -> None:
        host = _without_port(headers.get("host", ""))
        # Not an address, as Kubernetes and Prometheus use it: only a name can be pointed elsewhere.
        if self.hosts and host not in self.hosts and not _is_address(host):
            # DNS rebinding: another site could point its own name at this service and read the responses.
            raise HTTPException(421, f"this service does not serve the host {host!r}; add it to serve.hosts")

    def _check_origin(self, headers: Headers) -> None:
        """Refuse requests from pages of other sites. A proxy may have changed the Host header."""
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin", "").partition("://")[2].lower()
        if site is not None:  # browsers send it over https and on localhost
            own = site in OWN_SITES
        elif "origin" in headers:
            own = origin == headers.get("host", "").lower() or _without_port(origin) in self.origins
        else:
            own = True  # not from a browser
        if not own:
            raise HTTPException(403, "cross-origin request refused; add the host name of the page to serve.hosts")


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host).lower()
