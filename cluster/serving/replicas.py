"""Replicas of the policy and of the reward, each a process of Ray Serve."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray import serve

from cluster.pools.interface import WorkerSpec, make_worker
from learner.adapter import Adapter
from workers.inference.scorer import Verdict
from workers.inference.summarizer import SummaryRequest, TokenizedRequest
from workers.reward.items import Item


@dataclass(frozen=True)
class ReplicaSettings:
    """How a replica runs its model."""

    folder: str  # base of relative paths
    threads: int
    batch_size: int  # requests answered together
    batch_wait: float  # seconds to wait for further requests
    timeout: float  # seconds for a batch before the replica is replaced
    adapters: int  # number kept in memory


class Replica:
    """One model, and the requests waiting for it."""

    def __init__(self, model: WorkerSpec, settings: ReplicaSettings) -> None:
        os.chdir(settings.folder)  # Serve may have been started elsewhere
        # The model has a thread to itself, which leaves the event loop free.
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.model: Any = self.thread.submit(make_worker, model, settings.threads).result()
        self.lock = asyncio.Lock()
        self.since: float | None = None  # when the current batch started
        self.timeout = settings.timeout
        batched = serve.batch(max_batch_size=settings.batch_size, batch_wait_timeout_s=settings.batch_wait)
        self.batch = batched(self._answer_batch)

    async def _submit(self, request: Any) -> Any:
        """The answer, computed in a batch with other requests."""
        # While a batch runs, Serve would group the arrivals within each `batch_wait` into many small batches. Here they
        # wait outside and form one batch.
        async with self.lock:
            pass
        return await self.batch(request)

    async def _answer_batch(self, requests: list[Any]) -> list[Any]:
        raise NotImplementedError

    async def _run(self, method: Callable[..., list[Any]], *args: Any) -> list[Any]:
        async with self.lock:
            self.since = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(self.thread, method, *args)
            finally:
                self.since = None

    def check_health(self) -> None:
        """Raises `RuntimeError` if a batch has taken too long; Serve then replaces the replica."""
        if self.since and time.monotonic() - self.since > self.timeout:
            raise RuntimeError(f"no answer within {self.timeout:g} s (cluster.call_timeout)")


class PolicyReplica(Replica):
    """A replica of the policy, with the adapters requested last."""

    def __init__(self, model: WorkerSpec, settings: ReplicaSettings) -> None:
        super().__init__(model, settings)

        async def read(version: str) -> Adapter:
            return await asyncio.to_thread(self.model.read, version.rpartition("@")[0])

        self.adapter = serve.multiplexed(max_num_models_per_replica=settings.adapters)(read)

    async def __call__(self, version: str, request: SummaryRequest) -> str:
        """The summary by an adapter; `version` is as made by `adapter_version`."""
        # Serve does not know the adapter of a request: it would send all requests for one adapter to one replica.
        return await self._submit((self.model.tokenize(request), await self.adapter(version)))

    async def _answer_batch(self, requests: list[tuple[TokenizedRequest, Adapter]]) -> list[str]:
        return await self._run(self._by_adapter, requests)

    def _by_adapter(self, requests: list[tuple[TokenizedRequest, Adapter]]) -> list[str]:
        summaries: dict[int, str] = {}
        alike = [(adapter, len(request.prefix)) for request, adapter in requests]
        for adapter, length in dict.fromkeys(alike):
            indices = [index for index, other in enumerate(alike) if other == (adapter, length)]
            texts = self.model.summarize([requests[index][0] for index in indices], adapter)
            summaries |= dict(zip(indices, texts, strict=True))
        return [summaries[index] for index in range(len(requests))]


class RewardReplica(Replica):
    """A replica of the reward."""

    async def __call__(self, item: Item) -> Verdict:
        """The verdict on a completion."""
        return await self._submit(item)

    async def _answer_batch(self, requests: list[Item]) -> list[Verdict]:
        return await self._run(self.model.score, requests)
