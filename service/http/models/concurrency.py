"""Concurrent calls that are all cancelled when one fails or the client disconnects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

T = TypeVar("T")


async def unless_disconnected(request: Request, call: Awaitable[T]) -> T:
    """The call's result. If the client disconnects, the call is cancelled and `ClientDisconnect` raised."""
    work, disconnect = asyncio.ensure_future(call), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait([work, disconnect], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in (work, disconnect):
            task.cancel()
        await asyncio.wait([work, disconnect])


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def gather(calls: Sequence[Awaitable[T]]) -> list[T]:
    """All results in order. If one call fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def as_completed(calls: Sequence[Awaitable[T]]) -> AsyncIterator[tuple[int, T]]:
    """Each result with the index of its call, as soon as it is available. Closing the iterator cancels the rest."""
    indices = {asyncio.ensure_future(call): i for i, call in enumerate(calls)}
    try:
        waiting = set(indices)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield indices[task], task.result()
    finally:
        for task in indices:
            task.cancel()
