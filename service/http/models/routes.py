"""Routes to the models: summaries and scores."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from service.http.auth import Generator, Reader
from service.http.metrics import count_texts
from service.http.models.concurrency import unless_disconnected
from service.http.models.schemas import (
    AdapterSummaries,
    ModelsAnswer,
    Score,
    ScoresAnswer,
    ScoresRequest,
    SummariesAnswer,
    SummariesRequest,
    SummaryLine,
)
from service.http.models.service import ModelService

router = APIRouter(tags=["models"])
JSON_LINES = "application/x-ndjson"


async def _model_service(request: Request) -> ModelService:
    return request.app.state.models


Models = Annotated[ModelService, Depends(_model_service)]


@router.get("/models")
async def get_models(models: Models, key: Reader) -> ModelsAnswer:
    """Get the models and adapters that this service offers."""
    reward = models.reward
    return ModelsAnswer(
        policy=models.policy.model,
        reward=reward.model,
        label=reward.label,
        label_is=reward.label_is,
        adapters=await asyncio.to_thread(models.adapters),
    )


@router.post("/scores")
async def score_texts(request: Request, models: Models, key: Generator, body: ScoresRequest) -> ScoresAnswer:
    """Score texts with the reward model."""
    verdicts = await unless_disconnected(request, models.score(body.texts, key.name))
    count_texts("score", len(verdicts))
    return ScoresAnswer(
        scores=[Score(logits=v.logits, probabilities=v.probabilities, toxicity=v.toxicity) for v in verdicts]
    )


@router.post(
    "/summaries",
    response_model=SummariesAnswer,
    responses={200: {"content": {JSON_LINES: {"schema": SummaryLine.model_json_schema()}}}},
)
async def summarize(
    request: Request, models: Models, key: Generator, body: SummariesRequest
) -> SummariesAnswer | StreamingResponse:
    """Summarize dialogues with one or more adapters.

    With the header `Accept: application/x-ndjson` each summary is sent on a line of its own as soon as it is finished.
    """
    if JSON_LINES in request.headers.get("accept", ""):
        lines = _lines(models, body, key.name)
        # Errors of the request are raised before the first line, while the status can still be set.
        first = await unless_disconnected(request, anext(lines))
        return StreamingResponse(_prepend(first, lines), media_type=JSON_LINES)
    summaries = models.summarize(body.adapters, body.dialogues, body.seed, key.name)
    by_adapter = await unless_disconnected(request, summaries)
    count_texts("summary", len(body.adapters) * len(body.dialogues))
    pairs = zip(body.adapters, by_adapter, strict=True)
    return SummariesAnswer(summaries=[AdapterSummaries(adapter=adapter, texts=texts) for adapter, texts in pairs])


async def _lines(models: ModelService, body: SummariesRequest, key: str) -> AsyncIterator[str]:
    async for index, text in models.stream_summaries(body.adapters, body.dialogues, body.seed, key):
        adapter, dialogue = divmod(index, len(body.dialogues))
        count_texts("summary", 1)
        yield SummaryLine(dialogue=dialogue, adapter=body.adapters[adapter], text=text).model_dump_json() + "\n"


async def _prepend(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for line in rest:
        yield line
