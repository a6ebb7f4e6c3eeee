"""Security headers of responses: the content security policy and other restrictions for browsers."""

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Styles may be inline because plotly and Swagger UI write them into their SVG and HTML.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send `Origin: null` with forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass
class SecuredResponse:
    """ASGI `send` that adds the security headers."""

    send: Send
    started: bool = False

    async def __call__(self, message: Message) -> None:
        """Pass on a message of the response."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            page = headers.get("content-type", "").startswith("text/html")
            headers.setdefault("Content-Security-Policy", PAGE_POLICY if page else DATA_POLICY)
            headers.update(HEADERS)
            message, self.started = {**message, "headers": headers.raw}, True
        await self.send(message)
