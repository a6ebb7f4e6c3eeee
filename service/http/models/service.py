"""Questions to the models: what is asked for is checked, and no more is taken on than can be answered in time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from cluster.serving.models import Models
from configs.errors import UsageError
from configs.schema import Config
from service.commands.evaluate import BASE
from service.http.runs.service import Runs
from service.http.runs.store import Record
from service.run.artifacts import has_adapter
from workers.inference.summarizer import Question, Verdict

T = TypeVar("T")


class Busy(Exception):
    """As many texts are waiting as may."""


class Desk:
    """Where questions come in."""

    def __init__(self, config: Config, models: Models, runs: Runs) -> None:
        self.config, self.models, self.runs = config, models, runs
        self.under_way: Counter[str] = Counter()

    def adapters(self) -> list[str]:
        """Whose summaries can be asked for: the untrained policy's, and those of runs of it, the newest first."""
        return [BASE, *(record.id for record in self.runs.registry.newest() if self._is_ours(record))]

    async def summaries(self, names: Sequence[str], dialogues: Sequence[str], seed: int | None) -> list[list[str]]:
        """Summaries of all dialogues by each of the adapters.

        Raises `UsageError` for what cannot be asked, `Busy`, `TooSlow` and `Unavailable` where there is no answer.
        """
        made = dict([found async for found in self.summaries_as_made(names, dialogues, seed)])
        size = len(dialogues)
        return [[made[i * size + j] for j in range(size)] for i in range(len(names))]

    async def summaries_as_made(
        self, names: Sequence[str], dialogues: Sequence[str], seed: int | None
    ) -> AsyncIterator[tuple[int, str]]:
        """The same one by one: place among adapters times dialogues, and summary. What is wrong is raised at first."""
        with self._room("summary", len(names) * len(dialogues)):
            asked = await self._asked(names, dialogues, seed)
            async for place, text in as_made([self.models.summarize(where, question) for where, question in asked]):
                yield place, text

    async def scores(self, texts: Sequence[str]) -> list[Verdict]:
        """What the reward model says of each text. Raises as `summaries` does."""
        with self._room("score", len(texts)):
            self._check("texts", texts)
            return await together([self.models.score(text) for text in texts])

    async def _asked(
        self, names: Sequence[str], dialogues: Sequence[str], seed: int | None
    ) -> list[tuple[str, Question]]:
        self._check("dialogues", dialogues)
        folders = await asyncio.to_thread(lambda: [self._folder(name) for name in names])
        return [(folder, Question(dialogue, seed)) for folder in folders for dialogue in dialogues]

    def _folder(self, name: str) -> str:
        """Where the adapter is. Raises `UsageError` where there is none."""
        if name == BASE:
            return BASE
        with suppress(KeyError):
            if self._is_ours(self.runs.registry.get(name)):
                return str(self.runs.folder(name) / "adapter")
        raise UsageError(f"adapters: {name!r} is none of this service's policy; GET /models names those that are")

    def _check(self, field: str, texts: Sequence[str]) -> None:
        limits = self.config.serve.limits
        if len(texts) > limits.texts:
            raise UsageError(f"{field}: {len(texts)} texts in one request; at most {limits.texts} are taken")
        for i, text in enumerate(texts):
            if len(text) > limits.chars:
                raise UsageError(f"{field}.{i}: {len(text)} characters; at most {limits.chars} are taken")

    @contextmanager
    def _room(self, kind: str, count: int) -> Iterator[None]:
        """A request is taken on as a whole or not at all, so that none is half done when it is refused."""
        # Counted here: Serve's own limit is passed by many that come at once, and its queue keeps replicas waiting.
        if self.under_way[kind] and self.under_way[kind] + count > self.config.serve.limits.queue:
            raise Busy(f"{self.under_way[kind]} texts are waiting already; come again")
        self.under_way[kind] += count
        try:
            yield
        finally:
            self.under_way[kind] -= count

    def _is_ours(self, record: Record) -> bool:
        """Whether the run has come to its adapter, and that is of the policy that answers here."""
        return record.policy == self.config.policy.model and has_adapter(self.runs.folder(record.id))


async def together(calls: Sequence[Awaitable[T]]) -> list[T]:
    """All results in order; where one fails, the others are given up."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def as_made(calls: Sequence[Awaitable[T]]) -> AsyncIterator[tuple[int, T]]:
    """Each result with its place, as soon as it is there; those not asked for any more are given up."""
    places = {asyncio.ensure_future(call): i for i, call in enumerate(calls)}
    try:
        waiting = set(places)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield places[task], task.result()
    finally:
        for task in places:
            task.cancel()
