"""The API's documentation: the OpenAPI document and a page that shows it, without files from other hosts."""

import re
from typing import Any

import fastapi_offline
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from service.http.auth import Reader
from service.http.root_path import outside
from service.page.rendering import Pages

FILES = "/docs/files"

router = APIRouter(include_in_schema=False)


def files() -> StaticFiles:
    """The files of Swagger UI."""
    return StaticFiles(directory=re.sub(r"__init__\.py$", "static", fastapi_offline.__file__))


@router.get("/openapi.json")
def openapi(request: Request, key: Reader) -> dict[str, Any]:
    """The OpenAPI document, with the path under which a proxy serves the API."""
    return request.app.openapi() | {"servers": [{"url": outside("") or "/"}]}


@router.get("/docs")
def docs(page: Pages, key: Reader) -> HTMLResponse:
    """Every operation of the API, to try out."""
    return page.render("docs.html", files=outside(FILES))
