"""Security headers of responses: the content security policy and other restrictions for browsers."""

import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
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


class SecuredResponse:
    """Sends a response with security headers. Scripts of pages get the nonce that the policy allows."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.send, self.nonce = send, secrets.token_urlsafe(16)
        self.start: Message | None = None
        self.body = b""
        # The nonce is inserted into pages, so they must not arrive compressed.
        if scope["path"] in ("/", "/docs"):
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]

    async def __call__(self, message: Message) -> None:
        """ASGI `send`: pass on a message of the response."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            message = {**message, "headers": headers.raw}
            if self._secure(headers):
                # A page's body is collected first: the nonces change its length.
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

    def _secure(self, headers: MutableHeaders) -> bool:
        """Add the security headers; returns True for a page, which needs nonces."""
        is_page = headers.get("content-type", "").startswith("text/html") and "content-security-policy" not in headers
        policy = PAGE_POLICY.format(nonce=self.nonce) if is_page else DATA_POLICY
        headers.setdefault("Content-Security-Policy", policy)
        for name, value in HEADERS.items():
            headers[name] = value
        return is_page
