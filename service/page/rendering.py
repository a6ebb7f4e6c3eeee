"""Rendering of pages: Jinja2 templates in which every text is escaped."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import Scope

from service.http.errors import problems_of, status_of
from service.http.keys import ApiKey
from service.http.request_log import request_id
from service.http.root_path import outside
from service.page.assets import asset, asset_path

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(TEMPLATES)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["time"] = _time
    made.globals |= {"path": outside, "asset": asset_path}
    return made


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


class Page:
    """Renders the page that answers a request."""

    def __init__(self, request: Request) -> None:
        self.key: ApiKey = request.state.key
        self.campaigns: bool = request.app.state.campaigns.any()

    def render(self, template: str, error: Exception | None = None, **values: Any) -> HTMLResponse:
        """A page. One of our errors becomes its status, and in the template the `problems`."""
        status, headers = status_of(error) if error else (200, {})
        problems = problems_of(error) if error else []
        text = (
            _environment()
            .get_template(template)
            .render(key=self.key, problems=problems, any_campaign=self.campaigns, **values)
        )
        return HTMLResponse(text, status, {"Cache-Control": "no-store", **headers})


Pages = Annotated[Page, Depends(Page)]
"""Type of a route's parameter that renders its page."""


def error_page(
    scope: Scope, status: int, errors: Sequence[Mapping[str, str]], headers: Mapping[str, str] | None
) -> HTMLResponse:
    """The page of an error. It loads nothing: the key may lack the scope for that."""
    text = _environment().get_template("error.html").render(
        key=scope.get("state", {}).get("key"),
        title=HTTPStatus(status).phrase,
        messages=[error["message"] for error in errors],
        request_id=request_id.get(),
        style=asset("page.css").content.decode(),
    )  # fmt: skip
    return HTMLResponse(text, status, dict(headers or {}))
