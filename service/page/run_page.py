"""The page of a run: what it does, its workers, curves and files, and how to stop, resume and scale it."""

from collections.abc import Callable
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from configs.errors import UsageError
from service.http.auth import Reader, Submitter
from service.http.errors import STATUS
from service.http.runs.dependencies import Runs, find_run, view
from service.http.runs.schemas import WorkerNumbers
from service.http.runs.service import RunService
from service.http.runs.store import RunRecord
from service.page.rendering import Page, Pages
from service.report.plots import LIVE

ROLES = tuple(WorkerNumbers.model_fields)
Number = Annotated[str, Form()]

router = APIRouter(include_in_schema=False)


@router.get("/page/runs/{run}")
def show(page: Pages, runs: Runs, key: Reader, run: str) -> HTMLResponse:
    """A run."""
    return _render(page, runs, find_run(runs, run))


@router.get("/page/runs/{run}/log")
def log(page: Pages, runs: Runs, key: Reader, run: str) -> HTMLResponse:
    """The last lines that a run printed."""
    record = find_run(runs, run)
    return page.render("log.html", run=view(runs, record), log=runs.log(record))


@router.post("/page/runs/{run}/stop")
def stop_run(page: Pages, runs: Runs, key: Submitter, run: str) -> HTMLResponse:
    """Stop a run."""
    return _act(page, runs, run, runs.stop, "state", "Stopping …")


@router.post("/page/runs/{run}/resume")
def resume_run(page: Pages, runs: Runs, key: Submitter, run: str) -> HTMLResponse:
    """Resume a run."""
    return _act(page, runs, run, runs.resume, "state", "Resuming …")


@router.post("/page/runs/{run}/workers")
def scale_run(
    page: Pages, runs: Runs, key: Submitter, run: str,
    rollout: Number = "", reward: Number = "", reference: Number = "", learner: Number = "",
) -> HTMLResponse:  # fmt: skip
    """Change the numbers of workers of a running run; an empty field leaves a role as it is."""
    texts = dict(zip(ROLES, (rollout, reward, reference, learner), strict=True))
    wanted = {role: text for role, text in texts.items() if text.strip()}
    done = "Requested; the run follows soon."
    return _act(page, runs, run, lambda record: runs.scale(record, _numbers(wanted)), "workers", done)


def _numbers(texts: dict[str, str]) -> dict[str, int]:
    """Numbers of workers by role. Raises `UsageError`."""
    if not texts:
        raise UsageError("workers: enter a number for at least one role")
    try:
        return WorkerNumbers(**texts).model_dump(exclude_none=True)
    except ValidationError as error:
        raise UsageError(*(f"{detail['loc'][0]}: {detail['msg']}" for detail in error.errors())) from error


def _act(
    page: Page, runs: RunService, id: str, action: Callable[[RunRecord], Any], place: str, done: str
) -> HTMLResponse:
    """Do something with a run, then show it with `done` or the error at a place: `state` or `workers`."""
    record = find_run(runs, id)
    try:
        action(record)
    except tuple(STATUS) as error:
        return _render(page, runs, record, place, error=error)
    return _render(page, runs, runs.store.get(id), place, done)


def _render(
    page: Page, runs: RunService, record: RunRecord, place: str = "", said: str = "", error: Exception | None = None
) -> HTMLResponse:
    run = view(runs, record)
    return page.render(
        "run.html",
        error,
        run=run,
        files={file.name: file.url for file in run.files},
        ended=record.ended,
        place=place,
        said=said,
        roles=ROLES,
        curves=LIVE,
        settings=yaml.safe_dump(record.request, sort_keys=False, allow_unicode=True) if record.request else "",
    )
