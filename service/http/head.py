"""HEAD: the headers that GET would have, without its body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadersSent(Exception):
    """Ends a request whose answer needs no body."""


class HeadMiddleware:
    """ASGI middleware: answers HEAD wherever GET is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as GET, up to the start of its answer."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["method"] = "HEAD"  # the server and the log look at it
                await send(message)
                await send({"type": "http.response.body"})
            raise HeadersSent  # an event stream, for example, would go on

        scope["method"] = "GET"
        try:
            await self.app(scope, receive, send_headers)
        except* HeadersSent:
            pass
        finally:
            scope["method"] = "HEAD"  # also for who answers an unexpected error
