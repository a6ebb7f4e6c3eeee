"""Event streams: how many of them a key has open."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from service.http.auth import Reader


class TooManyStreams(Exception):
    """This key has the maximum number of event streams open."""


class OpenStreams:
    """Counts the open event streams of each key."""

    def __init__(self, limit: int) -> None:
        self.limit, self.open = limit, Counter()

    def add(self, key: str) -> None:
        """Count a new one. Raises `TooManyStreams`."""
        if self.open[key] >= self.limit:
            raise TooManyStreams(f"{self.limit} of your event streams are open (serve.limits.streams); close one")
        self.open[key] += 1

    def remove(self, key: str) -> None:
        """One has ended."""
        self.open[key] -= 1


async def _open_stream(request: Request, key: Reader) -> AsyncIterator[None]:
    streams: OpenStreams = request.app.state.streams
    streams.add(key.name)
    try:
        yield
    finally:
        streams.remove(key.name)


OpenStream = Annotated[None, Depends(_open_stream)]
"""Type of a route's parameter that counts the response as an event stream until it has been sent."""
