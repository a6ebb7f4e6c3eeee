"""What somebody would write in a quarter of an hour: the same models behind FastAPI, a text at a time. For comparison.

uvicorn tests.plain:app
"""

import asyncio
from collections.abc import Callable
from typing import Any

import torch
from fastapi import FastAPI

from configs.load import load_config
from service.http.runs.schemas import ScoresRequest, SummariesRequest
from workers.inference.summarizer import BASE, Question, Scorer, Summarizer

torch.set_num_threads(1)
app, one = FastAPI(), asyncio.Lock()
summarizer, scorer = Summarizer(load_config([])), Scorer(load_config([]))


async def alone(call: Callable[[], Any]) -> Any:
    """One at a time: the models are not made for more."""
    async with one:
        return await asyncio.to_thread(call)


@app.post("/scores")
async def scores(body: ScoresRequest) -> dict:
    """As the service answers."""
    return {"scores": [vars((await alone(lambda t=text: scorer.score([t])))[0]) for text in body.texts]}


@app.post("/summaries")
async def summaries(body: SummariesRequest) -> dict:
    """As the service answers, of the untrained policy."""
    asked = [[summarizer.tokenize(Question(dialogue, body.seed))] for dialogue in body.dialogues]
    base = summarizer.read(BASE)
    texts = [(await alone(lambda q=question: summarizer.summarize(q, base)))[0] for question in asked]
    return {"summaries": [{"adapter": BASE, "texts": texts}]}
