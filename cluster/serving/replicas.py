"""What runs on Ray Serve: replicas of the policy and of the reward model, each with its own process."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from cluster.pools.interface import make_worker
from configs.schema import Config
from learner.adapter import Adapter
from workers.inference.summarizer import Question, Tokenized, Verdict


class Replica:
    """One model, and the questions that wait for it."""

    path: str  # of the model's class

    def __init__(self, config: Config, threads: int, root: str) -> None:
        os.chdir(root)  # paths may be relative, and Serve may have been begun elsewhere
        # A thread of its own does all the model's work: it never meets another there, and the event loop stays free.
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.model: Any = self.thread.submit(make_worker, self.path, config, threads).result()
        self.at_work = asyncio.Lock()
        self.since: float | None = None  # when it began with what it is doing
        self.patience = config.cluster.call_timeout
        size, wait = config.serve.batch_size, config.serve.batch_wait
        self.batch = serve.batch(max_batch_size=size, batch_wait_timeout_s=wait)(self._answer)

    async def _ask(self, question: Any) -> Any:
        """The answer, worked out together with others'."""
        # While a batch is answered, Serve makes others of whoever comes within `batch_wait`, which then take turns:
        # many small ones. Here they wait outside, and go in together.
        async with self.at_work:
            pass
        return await self.batch(question)

    async def _answer(self, questions: list[Any]) -> list[Any]:
        raise NotImplementedError

    async def _work(self, method: Callable[..., list[Any]], *args: Any) -> list[Any]:
        async with self.at_work:
            self.since = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(self.thread, method, *args)
            finally:
                self.since = None

    def check_health(self) -> None:
        """Raises where the model has been at one thing for too long, which has the replica replaced."""
        if self.since and time.monotonic() - self.since > self.patience:
            raise RuntimeError(f"no answer within {self.patience:g} s (cluster.call_timeout)")


class Summaries(Replica):
    """A replica of the policy, with the adapters that it was asked for last."""

    path = "workers.inference.summarizer:Summarizer"

    def __init__(self, config: Config, threads: int, root: str) -> None:
        super().__init__(config, threads, root)

        async def read(version: str) -> Adapter:
            return await asyncio.to_thread(self.model.read, version.rpartition("@")[0])

        self.adapter = serve.multiplexed(max_num_models_per_replica=config.serve.adapters)(read)

    async def __call__(self, version: str, question: Question) -> str:
        """The summary by an adapter, as `_version` names it."""
        # Calls do not name it to Serve, which would have one replica answer all that is asked of an adapter.
        return await self._ask((self.model.tokenize(question), await self.adapter(version)))

    async def _answer(self, questions: list[tuple[Tokenized, Adapter]]) -> list[str]:
        return await self._work(self._by_adapter, questions)

    def _by_adapter(self, questions: list[tuple[Tokenized, Adapter]]) -> list[str]:
        found: dict[int, str] = {}
        for adapter in dict.fromkeys(adapter for _, adapter in questions):
            places = [place for place, (_, its) in enumerate(questions) if its is adapter]
            texts = self.model.summarize([questions[place][0] for place in places], adapter)
            found |= dict(zip(places, texts, strict=True))
        return [found[place] for place in range(len(questions))]


class Scores(Replica):
    """A replica of the reward model."""

    path = "workers.inference.summarizer:Scorer"

    async def __call__(self, text: str) -> Verdict:
        """The verdict on a text."""
        return await self._ask(text)

    async def _answer(self, questions: list[str]) -> list[Verdict]:
        return await self._work(self.model.score, questions)
