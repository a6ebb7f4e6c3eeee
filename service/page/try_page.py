"""The page that summarizes a dialogue before and after training."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from configs.errors import UsageError
from learner.adapter import BASE
from service.http.auth import Generator, Reader
from service.http.errors import STATUS
from service.http.metrics import count_texts
from service.http.models.concurrency import unless_disconnected
from service.http.models.routes import Models
from service.http.models.service import ModelService
from service.page.rendering import Page, Pages
from workers.reward.items import Item

EXAMPLE = """#Person1#: Good morning. I am a train passenger. Are you the station master?
#Person2#: Yes, I am. What can I do for you?
#Person1#: Let me remind you that the ferry had no free seats last night.
#Person2#: I see.
#Person1#: I told you so before. I demand an apology. I am sick of you, you lousy fool!
#Person2#: I have to refuse that.
#Person1#: Listen to me, you clueless imbecile! Very well. Goodbye."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asked:
    """What the form holds."""

    dialogue: str
    adapter: str | None  # None: the newest
    seed: str


@dataclass(frozen=True)
class Shown:
    """A summary, its reward, and its toxicity if the reward measures it."""

    title: str
    text: str
    reward: float | None
    toxicity: float | None


@router.get("/page/try")
async def show(page: Pages, models: Models, key: Reader, adapter: str | None = None) -> HTMLResponse:
    """The form, with an example."""
    return await _render(page, models, Asked(EXAMPLE, adapter, "1"))


@router.post("/page/try")
async def summarize(
    request: Request, page: Pages, models: Models, key: Generator,
    dialogue: Annotated[str, Form()] = "",
    adapter: Annotated[str, Form()] = "",
    seed: Annotated[str, Form()] = "",
) -> HTMLResponse:  # fmt: skip
    """The form with the summaries of its dialogue."""
    asked = Asked(dialogue.replace("\r\n", "\n"), adapter, seed)  # browsers send lines as mail has them
    try:
        shown = await unless_disconnected(request, _compare(models, asked, key.name))
        return await _render(page, models, asked, shown)
    except tuple(STATUS) as error:
        return await _render(page, models, asked, error=error)


async def _compare(models: ModelService, asked: Asked, key: str) -> list[Shown]:
    adapters = [f"{asked.adapter}@start", asked.adapter] if asked.adapter else [BASE]
    if not asked.dialogue.strip():
        raise UsageError("dialogue: enter a dialogue")
    texts = [texts[0] for texts in await models.summarize(adapters, [asked.dialogue], _seed(asked.seed), key)]
    verdicts = await models.score([Item(text, asked.dialogue) for text in texts], key, "dialogue")
    for kind in ("summary", "score"):
        count_texts(kind, len(texts))
    titles = ("Before training", f"After training, run {asked.adapter}")
    rows = zip(titles, texts, verdicts, strict=False)
    return [Shown(*part, verdict.total, verdict.toxicity) for *part, verdict in rows]


def _seed(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        seed = int(text)
    except ValueError as error:
        raise UsageError(f"seed: must be a whole number or empty (given: {text!r})") from error
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed: must be from 0 to {2**63 - 1} (given: {text})")
    return seed


async def _render(
    page: Page, models: ModelService, asked: Asked, shown: list[Shown] | None = None, error: Exception | None = None
) -> HTMLResponse:
    names = [name for name in await asyncio.to_thread(models.adapters) if name != BASE]
    records = await asyncio.to_thread(lambda: [models.runs.store.get(name) for name in names])
    return page.render("try.html", error, asked=asked, records=records, shown=shown or [])
