"""The baseline of tests/load.py: the same models behind a plain FastAPI endpoint, one text at a time.

uvicorn tests.plain:app
"""

import asyncio
from collections.abc import Callable
from typing import Any

import torch
from fastapi import FastAPI

from configs.load import load_config
from service.http.models.schemas import ScoresRequest, SummariesRequest
from workers.inference.summarizer import BASE, Question, Scorer, Summarizer

torch.set_num_threads(1)
app, lock = FastAPI(), asyncio.Lock()
summarizer, scorer = Summarizer(load_config([])), Scorer(load_config([]))


async def exclusively(call: Callable[[], Any]) -> Any:
    """Run one call at a time: the models are not thread-safe."""
    async with lock:
        return await asyncio.to_thread(call)


@app.post("/scores")
async def scores(body: ScoresRequest) -> dict:
    """Scores in the form of the service."""
    return {"scores": [vars((await exclusively(lambda t=text: scorer.score([t])))[0]) for text in body.texts]}


@app.post("/summaries")
async def summaries(body: SummariesRequest) -> dict:
    """Summaries by the untrained policy in the form of the service."""
    tokenized = [[summarizer.tokenize(Question(dialogue, body.seed))] for dialogue in body.dialogues]
    base = summarizer.read(BASE)
    texts = [(await exclusively(lambda q=question: summarizer.summarize(q, base)))[0] for question in tokenized]
    return {"summaries": [{"adapter": BASE, "texts": texts}]}
