"""The baseline of tests/load.py: the same models behind a plain FastAPI endpoint, one text at a time. SCORES_WITH holds
arguments for another reward.

uvicorn tests.plain:app
"""

import asyncio
import os
import shlex
from collections.abc import Callable
from typing import Any

import torch
from fastapi import FastAPI

from cluster.serving.deployment import summarizer_settings
from configs.load import load_config
from learner.adapter import BASE
from service.http.models.routes import items_of, score_of
from service.http.models.schemas import ScoresAnswer, ScoresRequest, SummariesRequest
from tests.conftest import scorer_settings
from workers.inference.scorer import Scorer
from workers.inference.summarizer import Summarizer, SummaryRequest

torch.set_num_threads(1)
app, lock = FastAPI(), asyncio.Lock()
config = load_config(shlex.split(os.environ.get("SCORES_WITH", "")))
summarizer, scorer = Summarizer(summarizer_settings(config)), Scorer(scorer_settings(config))


async def exclusively(call: Callable[[], Any]) -> Any:
    """Run one call at a time: the models are not thread-safe."""
    async with lock:
        return await asyncio.to_thread(call)


@app.post("/scores")
async def scores(body: ScoresRequest) -> ScoresAnswer:
    """Scores in the form of the service."""
    verdicts = [(await exclusively(lambda i=item: scorer.score([i])))[0] for item in items_of(body)]
    return ScoresAnswer(scores=list(map(score_of, verdicts)))


@app.post("/summaries")
async def summaries(body: SummariesRequest) -> dict:
    """Summaries by the untrained policy in the form of the service."""
    tokenized = [[summarizer.tokenize(SummaryRequest(dialogue, body.seed))] for dialogue in body.dialogues]
    base = summarizer.read(BASE)
    texts = [(await exclusively(lambda q=question: summarizer.summarize(q, base)))[0] for question in tokenized]
    return {"summaries": [{"adapter": BASE, "texts": texts}]}
