"""What every request passes first: who asks, from where, and what the answer lets a browser do."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.errors import told
from service.http.keys import Holder, Keys
from service.http.request_log import METHODS

OPEN = frozenset({"/health", "/ready"})
"""Routes that need no key."""
PAGE = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json)|/(assets|static)(/[\w@-][\w.@-]*)+"
    r"|/gradio_api/(queue/(join|data)|startup-events|heartbeat/\w+|cancel|reset)"
)
"""What the page needs of Gradio; what else that brings (uploads, files, proxies) is shut."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CLOSED_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Gate:
    """A layer around the app."""

    app: ASGIApp
    keys: Keys
    hosts: frozenset[str]  # names that the service is reached by; none: any
    most: int  # bytes of a body
    routes: Sequence[BaseRoute]  # of the API; what else there is, is the page's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass, or refuse."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            answer = _Answer(scope, send)
            try:
                self._check(scope)
            except HTTPException as error:
                refusal = told(error.status_code, [{"message": error.detail}], error.headers)
                await refusal(scope, receive, answer)
            else:
                await self.app(scope, self._bounded(receive), answer)

    def _bounded(self, receive: Receive) -> Receive:
        """What comes in, up to as much as may. FastAPI's own bound is no use: what it answers is no error of ours."""
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most:
                raise HTTPException(413, f"the body is too large; at most {self.most} bytes are taken")
            return message

        return bounded

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
        if self.hosts and host not in self.hosts:
            # Else a page elsewhere could have its own name lead here, and read the answers.
            raise HTTPException(421, f"this service is not called {host!r}; name it in serve.hosts")
        origin = headers.get("origin", "")
        if (
            scope["method"] not in SAFE
            and origin
            and origin.partition("://")[2].lower() != headers.get("host", "").lower()
        ):
            raise HTTPException(403, "asked for by a page of another origin")
        if scope["path"] in OPEN and scope["method"] == "GET":
            return
        holder = self.keys.holder(headers.get("authorization"))
        if holder is None:
            challenge = {"WWW-Authenticate": 'Bearer, Basic realm="seqrlhf: any name, the key as password"'}
            raise HTTPException(401, "give a key: Authorization: Bearer KEY", challenge)
        scope.setdefault("state", {})["holder"] = holder
        match = self._match(scope)
        if match is Match.PARTIAL:  # it would be handed on to the page
            allowed = [method for method in sorted(METHODS) if self._match({**scope, "method": method}) is Match.FULL]
            raise HTTPException(405, f"{scope['method']} is not for this path", {"Allow": ", ".join(allowed)})
        if match is Match.NONE:
            if not PAGE.fullmatch(scope["path"]):
                raise HTTPException(404, "there is nothing here")
            if "read" not in holder.scopes:
                raise HTTPException(403, "this key has not the scope read")

    def _match(self, scope: Scope) -> Match:
        """Whether the API has the path; `PARTIAL` where it is there for other methods only."""
        return max((route.matches(scope)[0] for route in self.routes), key=lambda match: match.value)


class _Answer:
    """Sends what the app answers, with the headers that bound it. Scripts of a page are marked as ours."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.send, self.nonce = send, secrets.token_urlsafe(16)
        self.start: Message | None = None
        self.body = b""
        # A page is read here, so that it must not come compressed.
        if scope["path"] in ("/", "/docs"):
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            message = {**message, "headers": headers.raw}
            page = headers.get("content-type", "").startswith("text/html") and "content-security-policy" not in headers
            headers.setdefault(
                "Content-Security-Policy", PAGE_POLICY.format(nonce=self.nonce) if page else CLOSED_POLICY
            )
            for name, value in HEADERS.items():
                headers[name] = value
            if page:
                del headers["content-length"]
                self.start = message
                return
        elif self.start is not None:
            self.body += message.get("body", b"")
            if message.get("more_body"):
                return
            await self.send(self.start)
            message = {**message, "body": self.body.replace(b"<script", f'<script nonce="{self.nonce}"'.encode())}
        await self.send(message)


def needs(scope: str) -> Any:
    """What a route declares: the scope that a key must have. Gives the holder."""

    def check(request: Request) -> Holder:
        holder: Holder = request.state.holder
        if scope not in holder.scopes:
            raise HTTPException(403, f"this key has not the scope {scope}")
        return holder

    check.scope = scope
    return Depends(check)


Reader, Generator, Submitter = (Annotated[Holder, needs(scope)] for scope in ("read", "generate", "submit"))
