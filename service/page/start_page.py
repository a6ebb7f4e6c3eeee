"""The page that starts a run."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from service.http.auth import Reader, Submitter
from service.http.errors import STATUS
from service.http.root_path import outside
from service.http.runs.dependencies import Runs
from service.http.runs.service import RunService
from service.page.rendering import Page, Pages

router = APIRouter(include_in_schema=False)


@router.get("/page/start")
def show(page: Pages, runs: Runs, key: Reader) -> HTMLResponse:
    """The form."""
    return _render(page, runs, next(iter(runs.presets.configs)), "", "")


@router.post("/page/start")
def submit_run(
    page: Pages, runs: Runs, key: Submitter,
    preset: Annotated[str, Form()] = "",
    steps: Annotated[str, Form()] = "",
    seed: Annotated[str, Form()] = "",
    form: Annotated[str, Form(max_length=100)] = "",
) -> Response:  # fmt: skip
    """Submit a run and lead to its page. The same `form` sent twice, as by a double click, starts one run."""
    numbers = {"steps": steps, "seed": seed}
    body = {"base": preset} | {name: _integer(text) for name, text in numbers.items() if text.strip()}
    try:
        record, _ = runs.submit(body, key.name, f"{form} {body}" if form else None)
    except tuple(STATUS) as error:
        return _render(page, runs, preset, steps, seed, error)
    return RedirectResponse(outside(f"/page/runs/{record.id}"), 303)


def _integer(text: str) -> int | str:
    """The number; a text that is none stays, for the config to name what is wrong with it."""
    try:
        return int(text)
    except ValueError:
        return text


def _render(
    page: Page, runs: RunService, preset: str, steps: str, seed: str, error: Exception | None = None
) -> HTMLResponse:
    return page.render(
        "start.html", error, presets=runs.presets.configs, preset=preset, steps=steps, seed=seed,
        form=secrets.token_hex(8),
    )  # fmt: skip
