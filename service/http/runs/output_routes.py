"""Routes to a run's output: steps, live events, log and files."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.http.auth import Reader
from service.http.errors import NotFound
from service.http.runs.dependencies import Runs, find_run, view
from service.http.runs.pages import link_next
from service.http.runs.schemas import STEP_EXAMPLE, RunId, Step, StepList
from service.http.runs.store import RunRecord
from service.http.runs.streams import OpenStream
from service.run.artifacts import ADAPTER, FILES, ZIP, artifacts, zipped
from service.run.step_log import StepTail

router = APIRouter(tags=["runs"])
POLL = 0.5
"""Seconds between two checks for new steps."""
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
"""Reports contain scripts. They get no origin, so that nothing in them can make requests with a key."""
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "the file"}}
FILE_CONTENT = BYTES | {kind: {"example": "the file"} for kind in sorted({*(kind for _, kind in FILES.values()), ZIP})}
"""Bytes come first: generated clients take the first type that they know, and must not parse a file as JSON."""
EVENTS_EXAMPLE = f"event: step\ndata: {json.dumps(STEP_EXAMPLE)}\nid: {STEP_EXAMPLE['step']}\n\n"


@router.get("/runs/{run}/steps")
def list_steps(
    request: Request,
    response: Response,
    runs: Runs,
    key: Reader,
    run: RunId,
    after: int = -1,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> StepList:
    """List the metrics of `limit` steps with a number above `after`. The header Link leads to the next page."""
    done = StepTail(runs.folder(find_run(runs, run).id)).new()
    found = [step for step in done if step["step"] > after]
    shown, following = [Step.model_validate(step) for step in found[:limit]], None
    if len(found) > limit:
        following = shown[-1].step
        link_next(request, response, after=following)
    return StepList(steps=shown, total=len(done), next=following)


@router.get(
    "/runs/{run}/log",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "step 12 of 45"}}}},
)
def get_log(runs: Runs, key: Reader, run: RunId) -> Response:
    """Get the last lines that the run printed."""
    return Response(runs.log(find_run(runs, run)).encode("utf-8", "replace"), media_type="text/plain; charset=utf-8")


@router.get(
    "/runs/{run}/files/{name}",
    response_class=Response,
    responses={200: {"content": FILE_CONTENT}},
)
def get_file(runs: Runs, key: Reader, run: RunId, name: Annotated[str, Path(examples=["report.html"])]) -> Response:
    """Download one of the run's `files`."""
    artifact = artifacts(runs.folder(find_run(runs, run).id)).get(name)
    if not artifact:
        raise NotFound(f"run {run} has no file {name!r} (yet); `files` of the run lists what is available")
    if artifact.name == ADAPTER:
        headers = {"Content-Disposition": f'attachment; filename="adapter-{run}.zip"'}
        return Response(zipped(artifact.path), media_type=artifact.media_type, headers=headers)
    artifact.path.open("rb").close()  # an unreadable file is found out before the response has begun
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return FileResponse(artifact.path, media_type=artifact.media_type, headers=headers)


def _existing(runs: Runs, run: RunId) -> RunRecord:
    return find_run(runs, run)


@router.get(
    "/runs/{run}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS_EXAMPLE}}}},
)
async def follow_run(
    request: Request,
    runs: Runs,
    key: Reader,
    run: RunId,
    existing: Annotated[RunRecord, Depends(_existing)],  # a dependency, as it must fail before the stream starts
    counted: OpenStream,
    last_event_id: Annotated[int, Header(ge=-1)] = -1,
) -> AsyncIterator[ServerSentEvent]:
    """Follow a run: an event `step` with the metrics of each step, `state` for each new state, and `end`.

    `end` has the run as it is at its end, or when the service stops. The id of a `step` event is the step's number;
    with the header Last-Event-ID only later steps are sent. The stream is cut once the key is revoked or expires.
    """
    state, last, closing, keys = "", last_event_id, request.app.state.closing, request.app.state.keys
    tail = StepTail(runs.folder(existing.id))
    while await asyncio.to_thread(keys.holds, key):
        # The record before the steps: a run that has ended writes no more steps, so none is missed.
        record = await asyncio.to_thread(find_run, runs, run)
        for step in await asyncio.to_thread(tail.new):
            if step["step"] > last:
                last = step["step"]
                yield ServerSentEvent(event="step", id=str(last), data=step)
        if record.state != state:
            state = record.state
            yield ServerSentEvent(event="state", data={"state": state, "message": record.message})
        if record.ended or closing.is_set():
            yield ServerSentEvent(event="end", data=view(runs, record).model_dump(mode="json"))
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), POLL)
