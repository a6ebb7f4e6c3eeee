"""Audit of requests: every one that would change something and needs the scope `submit`, of the API or the page."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.audit import AuditLog, Change
from service.http.request_log import request_id

MAX_BODY = 1000
"""Bytes of a request's body that its line holds."""


class AuditMiddleware:
    """ASGI middleware: adds a request's line before its answer is sent.

    Inside of `SecurityMiddleware`: requests without a valid key must not fill the disk.
    """

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self.app, self.audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, started = b"", False

        async def receive_and_keep() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")[: MAX_BODY - len(body)]
            return message

        async def send_after_audit(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if _is_change(scope):
                    await asyncio.to_thread(self._add, scope, body, message["status"], Headers(raw=message["headers"]))
            await send(message)

        try:
            await self.app(scope, receive_and_keep, send_after_audit)
        finally:
            if not started and _is_change(scope):
                self._add(scope, body, 500, Headers())

    def _add(self, scope: Scope, body: bytes, status: int, headers: Headers) -> None:
        created = re.search(r"[0-9a-f]{12}$", headers.get("location", ""))
        named = scope["path_params"]
        change = Change(
            who=scope["state"]["key"].name,
            what=scope["route"].name,
            result=status,
            run=named.get("run") or named.get("campaign") or (created[0] if created else ""),
            request="" if status == 403 else body.decode(errors="replace"),  # a key without the scope fills no disk
            client=scope["client"][0] if scope["client"] else "",
            request_id=request_id.get(),
        )
        self.audit.add(change)


def _is_change(scope: Scope) -> bool:
    """Whether the request has reached a route that changes something and needs the scope `submit`."""
    return scope["method"] != "GET" and "submit" in scope.get("state", {}).get("needed_scopes", ())
