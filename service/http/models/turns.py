"""Turns of the keys: one that asks for much does not make the others wait for all of it."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from cluster.serving.client import TooSlow


class Busy(Exception):
    """The maximum number of texts of this key is already waiting or in progress."""


class Turns:
    """Limits the texts of each key, and the texts in progress; of those that wait, the keys take turns.

    For one kind of model, and to be used on one event loop.
    """

    def __init__(self, limit: int, capacity: int, patience: float) -> None:
        """`limit`: texts of a key that wait or are in progress; `capacity`: texts in progress; `patience`: seconds."""
        self.limit, self.capacity, self.patience = limit, capacity, patience
        self.pending: Counter[str] = Counter()  # by key
        self._in_progress = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by key; the first key's turn is next

    @contextmanager
    def admit(self, key: str, count: int) -> Iterator[None]:
        """Admit a whole request or none of it: no work is wasted on one that is then refused. Raises `Busy`."""
        if self.pending[key] and self.pending[key] + count > self.limit:
            raise Busy(f"{self.pending[key]} of your texts are already waiting (serve.limits.queue); try again later")
        self.pending[key] += count
        try:
            yield
        finally:
            self.pending[key] -= count
            self.pending += Counter()  # forget keys without texts

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for the key's next turn; the context is the text's time in progress. Raises `TooSlow`."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        self._pass_on()
        try:
            try:
                async with asyncio.timeout(self.patience):
                    await turn
            except TimeoutError:
                raise TooSlow(f"no turn within {self.patience:g} s (serve.limits.timeout)") from None
            yield
        finally:
            if turn.cancelled():
                self._forget(key, turn)
            else:
                self._in_progress -= 1
            self._pass_on()

    def resize(self, capacity: int) -> None:
        """Change the number of texts that may be in progress."""
        self.capacity = capacity
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and self._in_progress < self.capacity:
            key = next(iter(self._waiting))
            turns = self._waiting.pop(key)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns  # behind all others
            if not turn.cancelled():  # cancelled just now, and not forgotten yet
                turn.set_result(None)
                self._in_progress += 1

    def _forget(self, key: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(key, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(key, None)
