"""Making the pairs of a campaign: summaries by its policies, and the reward's opinion of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from configs.campaigns import REFERENCE, CampaignConfig, KnownAnswer
from configs.errors import UsageError
from service.campaigns.draw import Candidate, Share, candidates, shares
from service.campaigns.records import Pair
from service.campaigns.store import CampaignStore
from workers.data.prompts import Row
from workers.reward.items import Item

BATCH = 16
"""Pairs whose texts are asked for at the same time, and kept together."""
Key = tuple[str, str, int]
"""Dialogue, policy and seed of a summary."""


@dataclass(frozen=True)
class Models:
    """Who summarizes and who scores."""

    summarize: Callable[[Sequence[Key]], Awaitable[list[str | None]]]  # None: the dialogue is too long
    score: Callable[[Sequence[Item]], Awaitable[list[float | None]]]  # None: unknown


@dataclass(frozen=True)
class Written:
    """A candidate with its summaries."""

    candidate: Candidate
    first: str
    second: str


@dataclass
class Maker:
    """Makes the pairs of a campaign. What it has made is kept in the store, from which another maker continues."""

    store: CampaignStore
    spec: CampaignConfig
    rows: Sequence[Row]
    template: str  # of the prompt
    models: Models
    made: dict[Key, str | None] = field(default_factory=dict)
    done: int = 0
    total: int = 0

    async def make(self) -> list[Pair]:
        """All pairs. Raises `UsageError` if the data do not have enough, and what the models raise."""
        self.made = await asyncio.to_thread(self.store.completions)
        left, parts = candidates(self.spec, len(self.rows)), shares(self.spec)
        self.total = 2 * sum(share.among for share in parts)
        found = [pair for share in parts for pair in await self._share(share, left[share.role])]
        return [*found, *map(self._known, self.spec.qualification)]

    async def _share(self, share: Share, left: Iterator[Candidate]) -> list[Pair]:
        written: list[Written] = []
        while len(written) < share.among and (batch := list(islice(left, min(BATCH, share.among - len(written))))):
            written += [each for each in await self._write(batch) if each and _is_useful(each, share)]
        if len(written) < share.pairs:
            raise UsageError(
                f"pairs: {share.pairs} for {share.role} are asked for, but only {len(written)} can be made of split "
                f"{self.spec.split}: prompts are too long, or the summaries do not differ; ask for fewer pairs"
            )
        if share.unsure:
            written = await self._least_sure(written, share.pairs)
        return [self._pair(each, share) for each in written[: share.pairs]]

    async def _write(self, batch: Sequence[Candidate]) -> list[Written | None]:
        keys = [self._keys(candidate) for candidate in batch]
        missing = list({key for both in keys for key in both if key[1] != REFERENCE and key not in self.made})
        texts = await self.models.summarize(missing)
        self.made |= (new := dict(zip(missing, texts, strict=True)))
        self.done = min(self.done + 2 * len(batch), self.total)
        await asyncio.to_thread(self.store.keep, new, self.done, self.total)
        return [self._written(*pair) for pair in zip(batch, keys, strict=True)]

    def _keys(self, candidate: Candidate) -> tuple[Key, Key]:
        text, (first, second) = self.rows[candidate.row].text, candidate.seeds
        return (text, candidate.first, first), (text, candidate.second, second)

    def _written(self, candidate: Candidate, keys: tuple[Key, Key]) -> Written | None:
        reference = self.rows[candidate.row].references[0]
        first, second = (reference if key[1] == REFERENCE else self.made[key] for key in keys)
        return None if first is None or second is None else Written(candidate, first, second)

    async def _least_sure(self, written: Sequence[Written], count: int) -> list[Written]:
        """Those whose scores differ least; where a score is unknown, the reward is not sure at all."""
        gaps: list[float] = []
        for start in range(0, len(written), BATCH):
            batch = written[start : start + BATCH]
            scores = iter(await self.models.score([item for each in batch for item in self._items(each)]))
            gaps += [0.0 if None in both else abs(both[0] - both[1]) for both in zip(scores, scores, strict=True)]
        order = sorted(range(len(written)), key=lambda i: gaps[i])
        return [written[i] for i in order[:count]]

    def _items(self, written: Written) -> tuple[Item, Item]:
        row = self.rows[written.candidate.row]
        prompt = self._prompt(row.text)
        return tuple(Item(text, prompt, row.references, row.first.columns) for text in (written.first, written.second))

    def _prompt(self, dialogue: str) -> str:
        return self.template.replace("{text}", dialogue)

    def _pair(self, written: Written, share: Share) -> Pair:
        who, dialogue = written.candidate, self.rows[written.candidate.row].text
        texts = (self._prompt(dialogue), dialogue, written.first, written.second)
        return Pair(*texts, who.first, who.second, share.role)

    def _known(self, known: KnownAnswer) -> Pair:
        texts = (self._prompt(known.prompt), known.prompt, known.first, known.second)
        return Pair(*texts, "known", "known", "qualification", known.expected)


def _is_useful(written: Written, share: Share) -> bool:
    """Nothing is learnt from two equal texts; in an evaluation they are part of the truth."""
    return share.role == "evaluation" or written.first != written.second
