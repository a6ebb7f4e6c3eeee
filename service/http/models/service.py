"""Requests to the models: validates them, and shares the replicas among the keys."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from cluster.serving.apps import KINDS
from cluster.serving.client import ModelClient
from configs.errors import UsageError
from configs.policy import PolicyConfig
from configs.rewards import RewardConfig
from configs.service import ServeConfig
from learner.adapter import BASE
from service.http.models.concurrency import as_completed, gather
from service.http.models.offered import Offered, offered_policy
from service.http.models.turns import Turns
from service.http.runs.service import RunService
from service.http.runs.store import RunRecord
from service.run.artifacts import has_adapter
from workers.inference.scorer import Verdict
from workers.inference.summarizer import SummaryRequest, TooLong
from workers.reward.items import Item

BATCHES = 2
"""Batches of texts that a replica gets at a time: one in progress, and one that is ready when it is done."""
INTERVAL = 1.0
"""Seconds between looks at the number of replicas while texts are in progress."""


class ModelService:
    """Summaries by the policy with any run's adapter, and scores by the reward.

    Its methods are called with the name of a key, whose texts take turns with those of other keys. They raise
    `UsageError` for an invalid request; `Busy`, `TooSlow` and `Unavailable` if there is no answer.
    """

    def __init__(
        self, client: ModelClient, runs: RunService, policy: PolicyConfig, reward: RewardConfig, serve: ServeConfig
    ) -> None:
        """The sections are those that the replicas behind `client` were started with."""
        self.client, self.runs, self.policy, self.reward, self.limits = client, runs, policy, reward, serve.limits
        self.capacity = BATCHES * serve.batch_size  # of a replica
        self.turns = {kind: Turns(self.limits.queue, self.capacity, self.limits.timeout) for kind in KINDS}
        self._watcher: asyncio.Task[None] | None = None

    def adapters(self) -> list[str]:
        """Adapters that can be requested: the base policy, then runs of this policy, newest first."""
        return [BASE, *(record.id for record in self.runs.store.newest() if self._has_adapter(record))]

    async def summarize(
        self, adapters: Sequence[str], dialogues: Sequence[str], seed: int | None, key: str
    ) -> list[list[str]]:
        """Summaries of all dialogues by each adapter."""
        summaries = dict([item async for item in self.stream_summaries(adapters, dialogues, seed, key)])
        size = len(dialogues)
        return [[summaries[i * size + j] for j in range(size)] for i in range(len(adapters))]

    async def stream_summaries(
        self, adapters: Sequence[str], dialogues: Sequence[str], seed: int | None, key: str
    ) -> AsyncIterator[tuple[int, str]]:
        """Each summary as soon as it is finished, with its index in adapters x dialogues.

        Errors of the request are raised before the first summary.
        """
        self._watch_replicas()
        with self.turns["summaries"].admit(key, len(adapters) * len(dialogues)):
            self._check("dialogues", dialogues)
            policies = await asyncio.to_thread(lambda: [self.offered(name) for name in adapters])
            calls = [
                self._summarize(policy.adapter, SummaryRequest(dialogue, seed, policy.format), key)
                for policy in policies
                for dialogue in dialogues
            ]
            async for index, text in as_completed(calls):
                yield index, text

    async def score(self, items: Sequence[Item], key: str, field: str) -> list[Verdict]:
        """The reward's verdict on each completion; `field` is the request's that holds them."""
        self._watch_replicas()
        with self.turns["scores"].admit(key, len(items)):
            self._check(field, [_all_text(item) for item in items])
            return await gather([self._score(item, key) for item in items])

    async def sample(self, requests: Sequence[tuple[Offered, SummaryRequest]], key: str) -> list[str | None]:
        """Summaries by policies from `offered`, for the service itself; None where a dialogue is too long."""
        self._watch_replicas()
        with self.turns["summaries"].admit(key, len(requests)):
            return await gather([self._sample(policy, request, key) for policy, request in requests])

    async def judge(self, items: Sequence[Item], key: str) -> list[Verdict]:
        """The reward's verdict on each completion, for the service itself."""
        self._watch_replicas()
        with self.turns["scores"].admit(key, len(items)):
            return await gather([self._score(item, key) for item in items])

    async def _sample(self, policy: Offered, request: SummaryRequest, key: str) -> str | None:
        try:
            return await self._summarize(policy.adapter, replace(request, format=policy.format), key)
        except TooLong:
            return None

    async def _summarize(self, adapter: str, request: SummaryRequest, key: str) -> str:
        async with self.turns["summaries"].turn(key):
            return await self.client.summarize(adapter, request)

    async def _score(self, item: Item, key: str) -> Verdict:
        async with self.turns["scores"].turn(key):
            return await self.client.score(item)

    def offered(self, name: str) -> Offered:
        """The policy of an adapter's name. Raises `UsageError`."""
        if name == BASE:
            return Offered(self.policy.adapter or BASE, None)
        run, _, start = name.partition("@")
        try:
            record = self.runs.store.get(run)
        except KeyError:
            record = None
        if record is None or not self._has_adapter(record):
            raise UsageError(f"adapters: {name!r} is not an adapter of this service's policy; GET /models lists them")
        return offered_policy(name, self.runs.folder(run), at_start=bool(start))

    def _check(self, field: str, texts: Sequence[str]) -> None:
        if len(texts) > self.limits.texts:
            raise UsageError(f"{field}: {len(texts)} texts in one request; the limit is {self.limits.texts}")
        for i, text in enumerate(texts):
            if len(text) > self.limits.chars:
                raise UsageError(f"{field}.{i}: {len(text)} characters; the limit is {self.limits.chars}")

    def _has_adapter(self, record: RunRecord) -> bool:
        """True if the run has written an adapter, and it is one of the policy served here."""
        return record.policy == self.policy.model and has_adapter(self.runs.folder(record.id))

    def _watch_replicas(self) -> None:
        """While there are texts, let as many through as the running replicas can take."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._follow_replicas())

    async def _follow_replicas(self) -> None:
        while any(turns.pending for turns in self.turns.values()):
            for kind, running in (await asyncio.to_thread(self.client.ready)).items():
                self.turns[kind].resize(self.capacity * max(1, running))
            await asyncio.sleep(INTERVAL)


def _all_text(item: Item) -> str:
    """All texts of an item, whose characters are limited together."""
    row = json.dumps(dict(item.row)) if item.row else ""
    return "".join([item.completion, item.prompt, *item.references, row])
