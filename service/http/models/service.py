"""Requests to the models: validates them and limits the number of texts in progress."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress

from cluster.serving.client import ModelClient
from configs.errors import UsageError
from configs.rewards import RewardConfig
from configs.service import LimitsConfig
from learner.adapter import BASE
from service.http.models.concurrency import as_completed, gather
from service.http.runs.service import RunService
from service.http.runs.store import RunRecord
from service.run.artifacts import has_adapter
from workers.inference.scorer import Verdict
from workers.inference.summarizer import SummaryRequest


class Busy(Exception):
    """The maximum number of texts is already waiting or in progress."""


class ModelService:
    """Summaries by the policy with any run's adapter, and scores by the reward model."""

    def __init__(
        self, client: ModelClient, runs: RunService, limits: LimitsConfig, policy: str, reward: RewardConfig
    ) -> None:
        """`policy` and `reward` are the models that the replicas behind `client` serve."""
        self.client, self.runs, self.limits = client, runs, limits
        self.policy, self.reward = policy, reward
        self._pending: Counter[str] = Counter()

    def adapters(self) -> list[str]:
        """Adapters that can be requested: the base policy, then runs of this policy, newest first."""
        return [BASE, *(record.id for record in self.runs.store.newest() if self._has_adapter(record))]

    async def summarize(self, adapters: Sequence[str], dialogues: Sequence[str], seed: int | None) -> list[list[str]]:
        """Summaries of all dialogues by each adapter.

        Raises `UsageError` for an invalid request; `Busy`, `TooSlow` and `Unavailable` if there is no answer.
        """
        summaries = dict([item async for item in self.stream_summaries(adapters, dialogues, seed)])
        size = len(dialogues)
        return [[summaries[i * size + j] for j in range(size)] for i in range(len(adapters))]

    async def stream_summaries(
        self, adapters: Sequence[str], dialogues: Sequence[str], seed: int | None
    ) -> AsyncIterator[tuple[int, str]]:
        """Each summary as soon as it is finished, with its index in adapters x dialogues.

        Raises as `summarize` does; errors of the request before the first summary.
        """
        with self._admit("summary", len(adapters) * len(dialogues)):
            requests = await self._requests(adapters, dialogues, seed)
            async for index, text in as_completed([self.client.summarize(*request) for request in requests]):
                yield index, text

    async def score(self, texts: Sequence[str]) -> list[Verdict]:
        """The reward model's verdict on each text. Raises as `summarize` does."""
        with self._admit("score", len(texts)):
            self._check("texts", texts)
            return await gather([self.client.score(text) for text in texts])

    async def _requests(
        self, adapters: Sequence[str], dialogues: Sequence[str], seed: int | None
    ) -> list[tuple[str, SummaryRequest]]:
        self._check("dialogues", dialogues)
        folders = await asyncio.to_thread(lambda: [self._folder(name) for name in adapters])
        return [(folder, SummaryRequest(dialogue, seed)) for folder in folders for dialogue in dialogues]

    def _folder(self, name: str) -> str:
        """Folder of an adapter, or `base`. Raises `UsageError`."""
        if name == BASE:
            return BASE
        with suppress(KeyError):
            if self._has_adapter(self.runs.store.get(name)):
                return str(self.runs.folder(name) / "adapter")
        raise UsageError(f"adapters: {name!r} is not an adapter of this service's policy; GET /models lists them")

    def _check(self, field: str, texts: Sequence[str]) -> None:
        if len(texts) > self.limits.texts:
            raise UsageError(f"{field}: {len(texts)} texts in one request; the limit is {self.limits.texts}")
        for i, text in enumerate(texts):
            if len(text) > self.limits.chars:
                raise UsageError(f"{field}.{i}: {len(text)} characters; the limit is {self.limits.chars}")

    @contextmanager
    def _admit(self, kind: str, count: int) -> Iterator[None]:
        """Admit a whole request or none of it, so that no work is wasted on one that is then refused."""
        # Counted here: simultaneous requests can exceed Ray Serve's own limit, and its queue leaves replicas idle.
        if self._pending[kind] and self._pending[kind] + count > self.limits.queue:
            raise Busy(f"{self._pending[kind]} texts are already waiting; try again later")
        self._pending[kind] += count
        try:
            yield
        finally:
            self._pending[kind] -= count

    def _has_adapter(self, record: RunRecord) -> bool:
        """True if the run has written an adapter, and it is one of the policy served here."""
        return record.policy == self.policy and has_adapter(self.runs.folder(record.id))
