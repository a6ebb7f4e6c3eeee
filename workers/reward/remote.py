"""The reward by a server that speaks the JSON of this project's `POST /scores`."""

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any

import aiohttp

from configs.errors import UsageError
from configs.reward_parts import HttpReward
from workers.reward.items import Item, Value, cell

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second try, doubled before each further one, and the most of them."""
PASSING = {408, 425, 429, *range(500, 600)}
"""Statuses that another try may change."""
LARGEST_ANSWER = 10_000_000
"""Bytes."""


class ServerError(Exception):
    """No usable answer; the message says which server, and why."""


class _Passing(Exception):
    """A failure that another try may not meet, and the seconds to wait that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class RemoteScorer:
    """Sends completions in batches, several at a time; a batch without a usable answer fails as a whole."""

    def __init__(self, field: str, config: HttpReward) -> None:
        """Raises `UsageError` naming `field` if the environment holds no key though one is named."""
        self.config, self.headers = config, {}
        if config.key_env:
            if not (key := os.environ.get(config.key_env)):
                raise UsageError(f"{field}.key_env: the environment variable {config.key_env} is not set here")
            self.headers = {"Authorization": f"Bearer {key}"}

    def __call__(self, items: Sequence[Item]) -> list[Value]:
        """The server's number for each item."""
        return asyncio.run(self._score(items))

    async def _score(self, items: Sequence[Item]) -> list[Value]:
        size, places = self.config.batch_size, asyncio.Semaphore(self.config.concurrency)
        batches = [items[i : i + size] for i in range(0, len(items), size)]
        timeout = aiohttp.ClientTimeout(total=self.config.timeout)
        async with aiohttp.ClientSession(timeout=timeout, headers=self.headers) as session:
            parts = await asyncio.gather(*(self._batch(session, places, batch) for batch in batches))
        return [value for part in parts for value in part]

    async def _batch(
        self, session: aiohttp.ClientSession, places: asyncio.Semaphore, items: Sequence[Item]
    ) -> list[Value]:
        body = {"items": [self._sent(item) for item in items]}
        async with places:
            try:
                return self._values(await self._answer(session, body), len(items))
            except ServerError as error:
                return [error] * len(items)

    def _sent(self, item: Item) -> dict[str, Any]:
        row = {column: cell(item, column) for column in self.config.columns}
        sent = {"completion": item.completion, "prompt": item.prompt, "references": list(item.references)}
        return sent | ({"row": row} if row else {})

    async def _answer(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Any:
        """The server's JSON. Raises `ServerError` after the last try, or for an answer that no other try changes."""
        wait, tries = FIRST_WAIT, self.config.retries + 1
        for left in reversed(range(tries)):
            try:
                return await self._post(session, body)
            except _Passing as error:
                if not left:
                    raise ServerError(f"{self.config.url}: {error} ({tries} tries)") from error
                await asyncio.sleep(min(LONGEST_WAIT, max(wait, error.wait)))
                wait *= 2

    async def _post(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Any:
        try:
            # A redirect could lead anywhere, with the completions.
            async with session.post(self.config.url, json=body, allow_redirects=False) as response:
                if response.status in PASSING:
                    raise _Passing(f"status {response.status}", _seconds(response.headers.get("Retry-After", "")))
                if response.status != 200:
                    text = (await response.content.read(300)).decode(errors="replace")
                    raise ServerError(f"{self.config.url}: status {response.status}: {' '.join(text.split())}")
                return await self._json(response)
        except TimeoutError as error:
            raise _Passing(f"no answer within {self.config.timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise _Passing(f"{type(error).__name__}: {error}") from error

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        read = bytearray()
        async for chunk in response.content.iter_any():
            read += chunk
            if len(read) > LARGEST_ANSWER:
                raise ServerError(f"{self.config.url}: the answer is larger than {LARGEST_ANSWER} bytes")
        try:
            return json.loads(read)
        except ValueError as error:
            raise ServerError(f"{self.config.url}: the answer is no JSON: {error}") from error

    def _values(self, answer: Any, count: int) -> list[Value]:
        """The numbers of an answer. Raises `ServerError` if it is not the JSON that was asked for."""
        scores = answer.get("scores") if isinstance(answer, dict) else None
        if not isinstance(scores, list) or len(scores) != count:
            found = f"{len(scores)} of them" if isinstance(scores, list) else "none"
            raise ServerError(f"{self.config.url}: {count} scores were asked for, the answer has {found}")
        return [self._value(score) for score in scores]

    def _value(self, score: Any) -> Value:
        """One item's number: its total, or that of the reward with the configured name."""
        path = ("total",) if self.config.reward is None else ("rewards", self.config.reward)
        for key in path:
            if not isinstance(score, dict) or key not in score:
                return ServerError(f"{self.config.url}: a score has no {'.'.join(path)}")
            score = score[key]
        if score is None or (isinstance(score, int | float) and not isinstance(score, bool)):
            return score
        return ServerError(f"{self.config.url}: {'.'.join(path)} is {score!r}, not a number")


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header; 0 for a date, or none."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
