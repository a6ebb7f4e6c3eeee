"""The page of all runs, newest first, and the way there from /."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse

from service.http.auth import Reader
from service.http.root_path import outside
from service.http.runs.dependencies import Runs, view
from service.http.runs.store import STATES, RunRecord
from service.page.rendering import Pages

PAGE_SIZE = 25
SEARCHED = ("id", "base", "owner", "state", "message")
"""Fields of a run that the text of a filter is looked up in."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Filter:
    """Which runs are listed."""

    text: str
    state: str

    def matches(self, record: RunRecord) -> bool:
        """True if the run has the state and holds the text."""
        found = any(self.text.strip().lower() in getattr(record, field).lower() for field in SEARCHED)
        return found and self.state in ("", record.state)


@router.get("/")
def home(runs: Runs, key: Reader) -> RedirectResponse:
    """Leads to the runs, or while there is none, to summaries by the untrained policy."""
    return RedirectResponse(outside("/page/runs" if runs.store.newest(1) else "/page/try"), 303)


@router.get("/page")
def index(key: Reader) -> RedirectResponse:
    """Leads to /."""
    return RedirectResponse(outside("/"), 303)


@router.get("/page/runs")
def list_runs(
    page: Pages,
    runs: Runs,
    key: Reader,
    text: Annotated[str, Query(alias="q", max_length=200)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=1_000_000)] = 1,
) -> HTMLResponse:
    """A page of the runs that hold a text and have a state."""
    wanted = Filter(text, state)
    records = runs.store.newest()
    matching = [record for record in records if wanted.matches(record)]
    first = PAGE_SIZE * (number - 1)
    return page.render(
        "runs.html",
        filter=wanted,
        states=STATES,
        runs=[view(runs, record) for record in matching[first : first + PAGE_SIZE]],
        first=first,
        matching=len(matching),
        total=len(records),
        number=number,
        more=len(matching) > first + PAGE_SIZE,
        active=any(not record.ended for record in records),
    )
