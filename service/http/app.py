"""The app: routes, page and the layers around them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from configs.schema import Config
from service.http import health
from service.http.errors import add_handlers
from service.http.keys import Keys
from service.http.models import routes as models_api
from service.http.models.service import Desk
from service.http.openapi import describe
from service.http.request_log import Observed
from service.http.runs import routes as runs_api
from service.http.runs.service import Runs
from service.http.security import Gate, Reader
from service.page.layout import mount_page

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
VERSION = "0.1.0"
DOCS_FILES = "/docs/files"


def make_app(config: Config, keys: Keys, runs: Runs, desk: Desk) -> FastAPI:
    """Everything that answers over HTTP."""
    app = FastAPI(
        title="seqrlhf",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
    )
    app.state.runs, app.state.desk, app.state.keys = runs, desk, keys
    app.state.probe = health.Probe(runs, desk.models)
    app.openapi = partial(describe, app)
    for part in (runs_api, models_api, health):
        app.include_router(part.router)
    _add_docs(app)
    add_handlers(app)
    routes = list(app.routes)
    mount_page(app, config)
    most = config.serve.limits.body_bytes
    app.add_middleware(Gate, keys=keys, hosts=_hosts(config), most=most, routes=routes)
    app.add_middleware(Observed)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.closing = asyncio.Event()
    yield
    app.state.closing.set()


def _hosts(config: Config) -> frozenset[str]:
    """Names that the service answers to; none: any, where keys guard it and it was given none."""
    serve = config.serve
    if serve.keys and serve.host not in (*LOOPBACK, "::1") and not serve.hosts:
        return frozenset()
    return frozenset({*LOOPBACK, serve.host.lower(), *(host.lower() for host in serve.hosts)})


def _add_docs(app: FastAPI) -> None:
    """The API's description, and a page that shows it without fetching anything from elsewhere."""
    folder = re.sub(r"__init__\.py$", "static", fastapi_offline.__file__)
    app.mount(DOCS_FILES, StaticFiles(directory=folder), name="docs-files")

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(holder: Reader) -> dict:
        return app.openapi()

    @app.get("/docs", include_in_schema=False)
    def docs(holder: Reader) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="seqrlhf",
            swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
        )
