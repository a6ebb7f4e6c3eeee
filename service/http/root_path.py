"""The path under which a proxy serves the service, such as /seqrlhf: `serve.root_path`."""

from contextvars import ContextVar
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

_root: ContextVar[str] = ContextVar("root_path", default="")


def outside(path: str) -> str:
    """A path of the service as clients must request it."""
    return _root.get() + path


def inside(scope: Scope) -> str:
    """The path of a request as our routes have it."""
    return scope["path"].removeprefix(_root.get())


@dataclass(frozen=True)
class RootPathMiddleware:
    """ASGI middleware: completes the paths of requests that a proxy sends without the root path."""

    app: ASGIApp
    root: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with `path` as ASGI defines it: it starts with `root_path`."""
        if scope["type"] == "http":
            _root.set(self.root)
            scope["root_path"] = self.root
            if scope["path"] == self.root:
                scope["path"] += "/"
            elif not scope["path"].startswith(f"{self.root}/"):
                scope["path"] = self.root + scope["path"]
        await self.app(scope, receive, send)
