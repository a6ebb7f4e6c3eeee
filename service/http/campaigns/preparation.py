"""Makes the pairs of new campaigns in the background, one campaign after the other."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.serving.client import TooSlow, Unavailable
from configs.campaigns import REFERENCE
from configs.data import DataConfig
from configs.errors import RunError, UsageError
from service.campaigns.making import Key, Maker, Models
from service.campaigns.records import Pair, Record, Refused
from service.campaigns.store import CampaignStore
from service.http.campaigns.policies import FOLDER, find_policy
from service.http.models.offered import Offered
from service.http.models.service import ModelService
from service.http.models.turns import Busy
from service.http.request_log import log
from workers.data.prompts import read_rows
from workers.inference.summarizer import SummaryRequest
from workers.reward.items import Item

PASSING = (Unavailable, TooSlow, Busy, RunError, OSError)
"""Errors that may pass: replicas that die, a full disk. What has been made is kept."""
TRIES, PAUSE = 60, 5.0
"""How often a campaign is continued after such an error before it fails, and seconds before each time."""


@dataclass
class Preparation:
    """Makes the pairs of campaigns by the service's own models. To be used on the server's event loop."""

    models: ModelService
    data: DataConfig
    waiting: Callable[[], CampaignStore | None]  # the next campaign without pairs; called on another thread
    _worker: asyncio.Task[None] | None = None
    _asked: bool = False

    def wake(self) -> None:
        """Look for campaigns that have no pairs yet."""
        self._asked = True
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._asked:
            self._asked = False
            try:
                while store := await asyncio.to_thread(self.waiting):
                    await self._prepare(store)
            except RunError as error:  # its failure could not be recorded
                log.error("cannot prepare campaigns: %s", error)
                await asyncio.sleep(PAUSE)
                self._asked = True

    async def _prepare(self, store: CampaignStore) -> None:
        """Open a campaign with its pairs, or note why that fails."""
        reason = None
        try:
            record = await asyncio.to_thread(store.record)
            pairs = await self._make_patiently(store, record)
            await asyncio.to_thread(store.open, pairs, record.spec.seed)
        except Refused:  # it was closed
            pass
        except (UsageError, *PASSING) as error:
            reason = str(error)
        except Exception:
            log.exception("cannot prepare campaign %s", store.folder.name)
            reason = "an unexpected error; the log of the service says which"
        if reason is not None:
            await asyncio.to_thread(store.change, "preparing", "failed", reason)
        await asyncio.to_thread(shutil.rmtree, store.folder / FOLDER, ignore_errors=True)

    async def _make_patiently(self, store: CampaignStore, record: Record) -> list[Pair]:
        for left in reversed(range(TRIES)):
            try:
                return await self._make(store, record)
            except PASSING as error:
                log.warning("campaign %s waits: %s", record.id, error)
                if not left:
                    raise
                await asyncio.sleep(PAUSE)
        raise AssertionError("the last try returns or raises")

    async def _make(self, store: CampaignStore, record: Record) -> list[Pair]:
        rows = await asyncio.to_thread(read_rows, self.data, record.spec.split)
        policies = {
            name: await asyncio.to_thread(find_policy, self.models, name, store.folder)
            for name in record.spec.policies
            if name != REFERENCE
        }
        models = Asked(self.models, policies, f"campaign {record.id}")
        asked = Models(models.summarize, models.score)
        return await Maker(store, record.spec, rows, self.data.template, asked).make()


@dataclass(frozen=True)
class Asked:
    """The service's models, which take a campaign's texts in turn with those of all keys."""

    models: ModelService
    policies: dict[str, Offered]
    key: str

    async def summarize(self, wanted: Sequence[Key]) -> list[str | None]:
        """Summaries; None where the dialogue is too long."""
        asked = [(self.policies[policy], SummaryRequest(dialogue, seed)) for dialogue, policy, seed in wanted]
        return await self.models.sample(asked, self.key)

    async def score(self, items: Sequence[Item]) -> list[float | None]:
        """Rewards; None where a part of the reward failed."""
        return [verdict.total for verdict in await self.models.judge(items, self.key)]
