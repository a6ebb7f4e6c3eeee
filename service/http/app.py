"""The FastAPI app: routes, API documentation and middleware."""

import asyncio
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from configs.installation import version
from configs.service import ServeConfig
from service.http import health
from service.http.audit import AuditLog
from service.http.audit_requests import AuditMiddleware
from service.http.campaigns import answer_routes
from service.http.campaigns import routes as campaign_routes
from service.http.campaigns.service import CampaignService
from service.http.errors import add_handlers
from service.http.head import HeadMiddleware
from service.http.keys import KeyFile
from service.http.models import routes as model_routes
from service.http.models.service import ModelService
from service.http.openapi import describe
from service.http.request_log import RequestLogMiddleware
from service.http.root_path import RootPathMiddleware
from service.http.runs import output_routes, routes
from service.http.runs.service import RunService
from service.http.runs.streams import OpenStreams
from service.http.security import SecurityMiddleware

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def make_app(
    settings: ServeConfig, keys: KeyFile, runs: RunService, models: ModelService, campaigns: CampaignService
) -> FastAPI:
    """The API. Its pages are added afterwards, see `add_pages`."""
    app = FastAPI(
        title="seqrlhf",
        version=version(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # it would redirect to the host that the proxy names
    )
    app.state.closing = asyncio.Event()  # set when the server stops
    app.state.runs, app.state.models, app.state.campaigns, app.state.keys = runs, models, campaigns, keys
    app.state.streams = OpenStreams(settings.limits.streams)
    app.state.readiness = health.ReadinessCheck(runs, models.client)
    app.openapi = partial(describe, app)
    for part in (routes, output_routes, model_routes, answer_routes, campaign_routes, health):
        app.include_router(part.router)
    add_handlers(app)
    app.add_middleware(AuditMiddleware, audit=AuditLog(Path(settings.folder)))
    app.add_middleware(
        SecurityMiddleware,
        keys=keys,
        hosts=_hosts(settings),
        origins=frozenset(host.lower() for host in settings.hosts),
        max_body=settings.limits.body_bytes,
    )
    app.add_middleware(HeadMiddleware)
    app.add_middleware(RequestLogMiddleware)
    app.add_middleware(RootPathMiddleware, root=settings.root_path)
    return app


def _hosts(settings: ServeConfig) -> frozenset[str]:
    """Host names that the service answers to; empty (any) if keys protect it and no names are configured."""
    if settings.keys and settings.host not in (*LOOPBACK, "::1") and not settings.hosts:
        return frozenset()
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return frozenset({*LOOPBACK, own.lower(), *(host.lower() for host in settings.hosts)})
