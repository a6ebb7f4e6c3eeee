"""Dependencies shared by the routes of runs."""

from typing import Annotated

from fastapi import Depends, Request

from service.http.errors import NotFound
from service.http.request_log import run_id
from service.http.runs.schemas import Run
from service.http.runs.service import RunService
from service.http.runs.store import RunRecord


async def _run_service(request: Request) -> RunService:
    return request.app.state.runs


Runs = Annotated[RunService, Depends(_run_service)]
"""Type of a route's parameter that receives the `RunService`."""


def find_run(runs: RunService, id: str) -> RunRecord:
    """The run with this id. Raises `NotFound`."""
    run_id.set(id)
    try:
        return runs.store.get(id)
    except KeyError as error:
        raise NotFound(f"no run {id!r}") from error


def view(runs: RunService, record: RunRecord) -> Run:
    """A run as the API returns it."""
    return Run.of(record, runs.folder(record.id))
