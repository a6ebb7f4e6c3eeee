"""Summaries and scores over HTTP, from replicas of the models."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from service.http import request_log as observe
from service.http.models.service import Desk
from service.http.runs.schemas import (
    ModelsAnswer,
    Score,
    ScoresAnswer,
    ScoresRequest,
    Summaries,
    SummariesAnswer,
    SummariesRequest,
    SummaryLine,
)
from service.http.security import Generator, Reader

router = APIRouter(tags=["models"])
LINES = "application/x-ndjson"


def desk_of(request: Request) -> Desk:
    """What the app was made with."""
    return request.app.state.desk


@router.get("/models")
async def models(request: Request, holder: Reader) -> ModelsAnswer:
    """What answers here."""
    desk = desk_of(request)
    config, adapters = desk.config, await asyncio.to_thread(desk.adapters)
    return ModelsAnswer(
        policy=config.policy.model,
        reward=config.reward.model,
        label=config.reward.label,
        label_is=config.reward.label_is,
        adapters=adapters,
    )


@router.post("/scores")
async def scores(request: Request, holder: Generator, body: ScoresRequest) -> ScoresAnswer:
    """What the reward model says of texts."""
    verdicts = await desk_of(request).scores(body.texts)
    observe.texts.labels("score").inc(len(verdicts))
    return ScoresAnswer(
        scores=[Score(logits=v.logits, probabilities=v.probabilities, toxicity=v.toxicity) for v in verdicts]
    )


@router.post(
    "/summaries",
    response_model=SummariesAnswer,
    responses={200: {"content": {LINES: {"schema": SummaryLine.model_json_schema()}}}},
)
async def summaries(request: Request, holder: Generator, body: SummariesRequest) -> SummariesAnswer | StreamingResponse:
    """Summaries of dialogues by one adapter or several.

    With the header `Accept: application/x-ndjson` each comes as a line of its own, as soon as it is made.
    """
    if LINES in request.headers.get("accept", ""):
        lines = _lines(desk_of(request), body)
        # With the first line what may be wrong is known, while the status can still tell of it.
        first = await anext(lines)
        return StreamingResponse(_after(first, lines), media_type=LINES)
    made = await desk_of(request).summaries(body.adapters, body.dialogues, body.seed)
    observe.texts.labels("summary").inc(len(body.adapters) * len(body.dialogues))
    found = [Summaries(adapter=adapter, texts=texts) for adapter, texts in zip(body.adapters, made, strict=True)]
    return SummariesAnswer(summaries=found)


async def _lines(desk: Desk, body: SummariesRequest) -> AsyncIterator[str]:
    async for place, text in desk.summaries_as_made(body.adapters, body.dialogues, body.seed):
        adapter, dialogue = divmod(place, len(body.dialogues))
        observe.texts.labels("summary").inc()
        yield SummaryLine(dialogue=dialogue, adapter=body.adapters[adapter], text=text).model_dump_json() + "\n"


async def _after(first: str, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for line in lines:
        yield line
