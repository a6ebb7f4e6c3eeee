"""The baseline of tests/load.py: the same models behind a plain FastAPI endpoint, one text at a time.

uvicorn tests.plain:app
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from fastapi import FastAPI

from cluster.serving.deployment import summarizer_settings
from configs.load import load_config
from learner.adapter import BASE
from service.http.models.schemas import ScoresRequest, SummariesRequest
from tests.conftest import scorer_settings
from workers.inference.scorer import Scorer
from workers.inference.summarizer import Summarizer, SummaryRequest
from workers.reward.items import Item

torch.set_num_threads(1)
app, lock = FastAPI(), asyncio.Lock()
config = load_config([])
summarizer, scorer = Summarizer(summarizer_settings(config)), Scorer(scorer_settings(config))


async def exclusively(call: Callable[[], Any]) -> Any:
    """Run one call at a time: the models are not thread-safe."""
    async with lock:
        return await asyncio.to_thread(call)


@app.post("/scores")
async def scores(body: ScoresRequest) -> dict:
    """Scores in the form of the service."""
    return {"scores": [asdict((await exclusively(lambda t=text: scorer.score([Item(t)])))[0]) for text in body.texts]}


@app.post("/summaries")
async def summaries(body: SummariesRequest) -> dict:
    """Summaries by the untrained policy in the form of the service."""
    tokenized = [[summarizer.tokenize(SummaryRequest(dialogue, body.seed))] for dialogue in body.dialogues]
    base = summarizer.read(BASE)
    texts = [(await exclusively(lambda q=question: summarizer.summarize(q, base)))[0] for question in tokenized]
    return {"summaries": [{"adapter": BASE, "texts": texts}]}
