"""The FastAPI app: routes, API documentation and middleware."""

import asyncio
import re
from functools import partial
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from configs.installation import version
from configs.service import ServeConfig
from service.http import health
from service.http.audit import AuditLog
from service.http.audit_requests import AuditMiddleware
from service.http.auth import Reader
from service.http.errors import add_handlers
from service.http.head import HeadMiddleware
from service.http.keys import KeyFile
from service.http.models import routes as model_routes
from service.http.models.service import ModelService
from service.http.openapi import describe
from service.http.request_log import RequestLogMiddleware
from service.http.runs import output_routes, routes
from service.http.runs.service import RunService
from service.http.security import SecurityMiddleware

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
DOCS_FILES = "/docs/files"


def make_app(settings: ServeConfig, keys: KeyFile, runs: RunService, models: ModelService) -> FastAPI:
    """The API with its documentation. The page is mounted on it afterwards, see `mount_page`."""
    app = FastAPI(
        title="seqrlhf",
        version=version(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.closing = asyncio.Event()  # set when the server stops
    app.state.runs, app.state.models = runs, models
    app.state.readiness = health.ReadinessCheck(runs, models.client)
    app.openapi = partial(describe, app)
    for part in (routes, output_routes, model_routes, health):
        app.include_router(part.router)
    _add_docs(app)
    add_handlers(app)
    app.add_middleware(AuditMiddleware, audit=AuditLog(Path(settings.folder)))
    app.add_middleware(
        SecurityMiddleware,
        keys=keys,
        hosts=_hosts(settings),
        max_body=settings.limits.body_bytes,
        routes=list(app.routes),
    )
    app.add_middleware(HeadMiddleware)
    app.add_middleware(RequestLogMiddleware)
    return app


def _hosts(settings: ServeConfig) -> frozenset[str]:
    """Host names that the service answers to; empty (any) if keys protect it and no names are configured."""
    if settings.keys and settings.host not in (*LOOPBACK, "::1") and not settings.hosts:
        return frozenset()
    return frozenset({*LOOPBACK, settings.host.lower(), *(host.lower() for host in settings.hosts)})


def _add_docs(app: FastAPI) -> None:
    """Add the OpenAPI document and a page that shows it, without files from other hosts."""
    folder = re.sub(r"__init__\.py$", "static", fastapi_offline.__file__)
    app.mount(DOCS_FILES, StaticFiles(directory=folder), name="docs-files")

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(key: Reader) -> dict:
        return app.openapi()

    @app.get("/docs", include_in_schema=False)
    def docs(key: Reader) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="seqrlhf",
            swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
        )
