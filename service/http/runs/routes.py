"""Runs over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from configs.errors import UsageError
from service.http.errors import Missing
from service.http.request_log import run_id
from service.http.runs.schemas import STEP, PresetAnswer, Run, RunId, WorkerNumbers
from service.http.runs.service import Runs
from service.http.runs.store import Record
from service.http.security import Reader, Submitter
from service.run.artifacts import ADAPTER, FILES, ZIP, artifacts, zipped
from service.run.step_log import Tail, finite

router = APIRouter(tags=["runs"])
LOOK = 0.5
"""Seconds between two looks for new steps."""
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
"""A report holds its scripts; it has no origin, so that nothing in it could use a key."""
EXAMPLES = {
    "quickstart": {"summary": "The quickstart, shorter", "value": {"base": "quickstart", "steps": 20, "seed": 7}},
    "grpo": {
        "summary": "GRPO",
        "value": {"base": "quickstart_grpo", "algorithm": {"learning_rate": 0.001}, "workers": {"reward": "1-4"}},
    },
}


EVENTS = f"event: step\ndata: {json.dumps(STEP)}\nid: {STEP['step']}\n\n"


def runs_of(request: Request) -> Runs:
    """What the app was made with."""
    return request.app.state.runs


def found(runs: Runs, id: str) -> Record:
    """Raises `Missing` where there is no such run."""
    run_id.set(id)
    try:
        return runs.registry.get(id)
    except KeyError as error:
        raise Missing(f"there is no run {id!r}") from error


def existing(request: Request, run: RunId) -> Record:
    """The run, found before an answer that is a stream has begun."""
    return found(runs_of(request), run)


def view(runs: Runs, record: Record) -> Run:
    """As people see it."""
    return Run.of(record, runs.folder(record.id))


@router.get("/presets")
def presets(request: Request, holder: Reader) -> list[PresetAnswer]:
    """What runs may be based on, with all settings."""
    configs = runs_of(request).presets.configs
    return [
        PresetAnswer(name=name, settings=finite(config.model_dump(mode="json", exclude={"serve", "bench"})))
        for name, config in configs.items()
    ]


@router.post("/runs", status_code=201, responses={200: {"model": Run, "description": "It was asked for before"}})
def submit(
    request: Request,
    response: Response,
    holder: Submitter,
    body: Annotated[dict[str, Any], Body(openapi_examples=EXAMPLES)],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Run:
    """Begin a run. The body is what a YAML file is: settings over those of the preset that `base` names."""
    runs = runs_of(request)
    record, new = runs.submit(body, holder.name, idempotency_key)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/runs/{record.id}"
    return view(runs, record)


@router.get("/runs")
def runs(
    request: Request,
    holder: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> list[Run]:
    """Runs, the newest first: at most `limit`, after `offset` newer ones."""
    runs = runs_of(request)
    return [view(runs, record) for record in runs.registry.newest(limit, offset)]


@router.get("/runs/{run}")
def run(request: Request, holder: Reader, run: RunId) -> Run:
    """One run."""
    runs = runs_of(request)
    return view(runs, found(runs, run))


@router.post("/runs/{run}/stop", status_code=202)
def stop(request: Request, holder: Submitter, run: RunId) -> Run:
    """Have a run end early; what was done is kept, and it can be resumed."""
    runs = runs_of(request)
    return view(runs, runs.stop(found(runs, run)))


@router.post("/runs/{run}/resume", status_code=202)
def resume(request: Request, holder: Submitter, run: RunId) -> Run:
    """Go on with a run that ended early."""
    runs = runs_of(request)
    return view(runs, runs.resume(found(runs, run)))


@router.patch("/runs/{run}/workers", status_code=202)
def scale(request: Request, holder: Submitter, run: RunId, numbers: WorkerNumbers) -> Run:
    """Give a run at work more or fewer workers; what it has then, it tells in seconds."""
    runs = runs_of(request)
    record, wanted = found(runs, run), numbers.model_dump(exclude_none=True)
    if not wanted:
        raise UsageError('workers: name a role and a number, such as {"reward": 4}')
    runs.scale(record, wanted)
    return view(runs, record)


@router.get("/runs/{run}/steps", responses={200: {"content": {"application/json": {"example": [STEP]}}}})
def steps(request: Request, holder: Reader, run: RunId, after: int = -1) -> list[dict[str, Any]]:
    """Metrics of the steps after that of number `after`."""
    runs = runs_of(request)
    return [step for step in Tail(runs.folder(found(runs, run).id)).new() if step["step"] > after]


@router.get(
    "/runs/{run}/log",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "step 12 of 45"}}}},
)
def log(request: Request, holder: Reader, run: RunId) -> Response:
    """The last lines of what the run printed."""
    runs = runs_of(request)
    return Response(runs.log(found(runs, run)).encode("utf-8", "replace"), media_type="text/plain; charset=utf-8")


@router.get(
    "/runs/{run}/files/{name}",
    response_class=Response,
    responses={
        200: {
            "content": {kind: {"example": "the file"} for kind in sorted({*(kind for _, kind in FILES.values()), ZIP})}
        }
    },
)
def file(
    request: Request, holder: Reader, run: RunId, name: Annotated[str, Path(examples=["report.html"])]
) -> Response:
    """A file of the run: one of those that its `files` name."""
    runs = runs_of(request)
    artifact = artifacts(runs.folder(found(runs, run).id)).get(name)
    if not artifact:
        raise Missing(f"run {run} has no file {name!r} (yet); its `files` are what there is")
    if artifact.name == ADAPTER:
        headers = {"Content-Disposition": f'attachment; filename="adapter-{run}.zip"'}
        return Response(zipped(artifact.path), media_type=artifact.media_type, headers=headers)
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return FileResponse(artifact.path, media_type=artifact.media_type, headers=headers)


@router.get(
    "/runs/{run}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"example": EVENTS}}}},
)
async def events(
    request: Request,
    holder: Reader,
    run: RunId,
    there: Annotated[Record, Depends(existing)],
    last_event_id: Annotated[int, Header(ge=-1)] = -1,
) -> AsyncIterator[ServerSentEvent]:
    """Live progress: an event `step` with the metrics of each step, `state` where that changes, `end` at the end.

    The id of an event is its step; with the header Last-Event-ID only those after it are sent.
    """
    runs, state, last = runs_of(request), "", last_event_id
    tail = Tail(runs.folder(there.id))
    while not request.app.state.closing.is_set():
        # The record first: of one that has ended no more steps come.
        record = await asyncio.to_thread(found, runs, run)
        for step in await asyncio.to_thread(tail.new):
            if step["step"] > last:
                last = step["step"]
                yield ServerSentEvent(event="step", id=str(last), data=step)
        if record.state != state:
            state = record.state
            yield ServerSentEvent(event="state", data={"state": state, "message": record.message})
        if record.ended:
            yield ServerSentEvent(event="end", data=view(runs, record).model_dump(mode="json"))
            return
        await asyncio.sleep(LOOK)
