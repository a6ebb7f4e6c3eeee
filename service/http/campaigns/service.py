"""The campaigns of the service: those on disk, new ones, and what is asked and answered in each."""

import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

from configs.campaigns import REFERENCE, CampaignConfig
from configs.data import DataConfig
from configs.errors import RunError, UsageError
from service.campaigns.questions import Questions
from service.campaigns.records import Answer, Record, Refused, TooManyCampaigns
from service.campaigns.store import CampaignStore
from service.http.campaigns.policies import check_policy
from service.http.campaigns.preparation import Preparation
from service.http.models.service import ModelService


class CampaignService:
    """Campaigns, each in a folder of its own. All methods but `prepare` block on the disk."""

    def __init__(self, folder: Path, data: DataConfig, models: ModelService, limit: int) -> None:
        """`folder` is the service's, and `limit` the number of campaigns of a key that are not closed."""
        self.folder, self.models, self.limit = folder / "campaigns", models, limit
        self._lock, self._stores, self._damaged = threading.Lock(), {}, {}
        for found in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            self._load(found)
        self.preparation = Preparation(models, data, self._waiting)

    def _load(self, folder: Path) -> None:
        """A damaged campaign must not keep the service from starting; one without a record was never confirmed."""
        try:
            store = CampaignStore(folder)
            with suppress(KeyError):
                store.record()
                self._stores[folder.name] = store
        except RunError as error:
            self._damaged[folder.name] = str(error)

    def close(self) -> None:
        """Close all files."""
        for store in self._stores.values():
            store.close()

    async def prepare(self) -> None:
        """Make the pairs of campaigns that have none yet, in the background; on the server's event loop."""
        self.preparation.wake()

    def create(self, spec: CampaignConfig, owner: str) -> Record:
        """A new campaign, whose pairs are then to be made.

        Raises `UsageError` if there is no such policy, `TooManyCampaigns`, `RunError` if it cannot be recorded.
        """
        problems = []
        for name in spec.policies:
            try:
                if name != REFERENCE:
                    check_policy(self.models, name)
            except UsageError as error:
                problems += error.problems
        if problems:
            raise UsageError(*problems)
        self.models.runs.check_folder()
        record = Record(secrets.token_hex(6), spec, owner, time.time())
        with self._lock:
            own = [each for each in self.records() if each.owner == owner and each.state in ("preparing", "open")]
            if len(own) >= self.limit:
                raise TooManyCampaigns(
                    f"{len(own)} of your campaigns are not closed (serve.limits.campaigns); close one"
                )
            self._stores = self._stores | {record.id: CampaignStore.create(self.folder / record.id, record)}
        return record

    def any(self) -> bool:
        """True if there is a campaign."""
        return bool(self._stores)

    def records(self) -> list[Record]:
        """All campaigns that can be read, newest first."""
        return self.listed()[0]

    def listed(self) -> tuple[list[Record], dict[str, str]]:
        """All campaigns that can be read, newest first, and by id why the others cannot."""
        found, damaged = [], dict(self._damaged)
        for id, store in self._stores.items():
            try:
                found.append(store.record())
            except RunError as error:
                damaged[id] = str(error)
        return sorted(found, key=lambda record: (-record.created, record.id)), damaged

    def store(self, id: str) -> CampaignStore:
        """The campaign of an id. Raises `KeyError`, or `RunError` if its file is damaged."""
        if id in self._damaged:
            raise RunError(self._damaged[id])
        return self._stores[id]

    def questions(self, id: str) -> Questions:
        """What is asked and answered in a campaign. Raises as `store` does."""
        store = self.store(id)
        return Questions(store.database, store.record().spec)

    def answer(self, id: str, annotator: str, question: str, answer: Answer) -> bool:
        """As `Questions.answer`. Raises `UsageError` for criteria that the campaign does not have."""
        questions = self.questions(id)
        if unknown := sorted(set(answer.criteria) - set(questions.spec.criteria)):
            known = ", ".join(questions.spec.criteria) or "none"
            raise UsageError(f"criteria: this campaign does not ask for {', '.join(unknown)}; it has: {known}")
        return questions.answer(annotator, question, answer)

    def finish(self, id: str) -> Record:
        """Close a campaign: it takes no more answers. Raises `Refused` if it is closed already."""
        store = self.store(id)
        state = store.record().state
        if state == "closed" or not store.change(state, "closed"):
            raise Refused("the campaign is closed already")
        return store.record()

    def _waiting(self) -> CampaignStore | None:
        preparing = [record for record in self.records() if record.state == "preparing"]
        return self._stores[preparing[-1].id] if preparing else None
