"""Routes to the models: summaries and scores."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from configs.rewards import RewardConfig
from service.http.auth import Generator, Reader
from service.http.metrics import count_texts
from service.http.models.concurrency import unless_disconnected
from service.http.models.schemas import (
    AdapterSummaries,
    LabelScores,
    ModelsAnswer,
    OfferedReward,
    Score,
    ScoresAnswer,
    ScoresRequest,
    SummariesAnswer,
    SummariesRequest,
    SummaryLine,
)
from service.http.models.service import ModelService
from workers.inference.scorer import Verdict
from workers.reward.items import Item

router = APIRouter(tags=["models"])
JSON_LINES = "application/x-ndjson"


async def _model_service(request: Request) -> ModelService:
    return request.app.state.models


Models = Annotated[ModelService, Depends(_model_service)]


@router.get("/models")
async def get_models(models: Models, key: Reader) -> ModelsAnswer:
    """Get the models and adapters that this service offers."""
    adapters = await asyncio.to_thread(models.adapters)
    rewards = {name: _offered(models.reward, name) for name in models.reward.parts}
    return ModelsAnswer(policy=models.policy.model, rewards=rewards, adapters=adapters)


def _offered(reward: RewardConfig, name: str) -> OfferedReward:
    part, prefix = reward.parts[name], f"reward.parts.{name}"
    used = [model.model for field, model in reward.models() if f"{field}.".startswith(f"{prefix}.")]
    label, label_is = (getattr(part, key, None) for key in ("label", "label_is"))
    return OfferedReward(type=part.type, models=used, label=label, label_is=label_is)


@router.post("/scores")
async def score_texts(request: Request, models: Models, key: Generator, body: ScoresRequest) -> ScoresAnswer:
    """Score completions with the reward."""
    field = "items" if body.items else "texts"
    verdicts = await unless_disconnected(request, models.score(items_of(body), key.name, field))
    count_texts("score", len(verdicts))
    return ScoresAnswer(scores=[score_of(verdict) for verdict in verdicts])


def items_of(body: ScoresRequest) -> list[Item]:
    """What a request wants to be scored."""
    return [*map(Item, body.texts), *(Item(x.completion, x.prompt, x.references, x.row) for x in body.items)]


def score_of(verdict: Verdict) -> Score:
    """A verdict as the response has it."""
    labels = {
        name: [LabelScores(logits=one.logits, probabilities=one.probabilities) for one in members]
        for name, members in verdict.labels.items()
    }
    return Score(total=verdict.total, rewards=verdict.parts, classifiers=labels, toxicity=verdict.toxicity)


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
