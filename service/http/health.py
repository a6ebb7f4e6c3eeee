"""How the service is, for those who watch it."""

import asyncio
import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ConfigDict

from cluster.serving.models import Models
from service.http.request_log import registry
from service.http.runs.metrics import run_figures
from service.http.runs.schemas import Shape
from service.http.runs.service import Runs
from service.http.security import Reader

router = APIRouter(tags=["health"])
FRESH, PATIENCE = 1.0, 5.0
"""Seconds for which what was found is told again, and that looking may take."""


class Health(Shape):
    """That the process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str
    """ok."""


class Readiness(Shape):
    """Whether runs can be begun and questions answered."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ready": True, "record": True, "cluster": True, "replicas": {"summary": 1}}]}
    )

    ready: bool
    """All of the following."""
    record: bool
    """The record of runs can be read."""
    cluster: bool
    """Ray answers."""
    replicas: dict[str, int]
    """Replicas that are running, of each kind of model."""


NOTHING = Readiness(ready=False, record=False, cluster=False, replicas={})


@router.get("/health")
async def health() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


class Probe:
    """Looks whether all is there, at most once a second and never twice at a time, however often it is asked."""

    def __init__(self, runs: Runs, models: Models) -> None:
        self.runs, self.models = runs, models
        self.looking: asyncio.Task[Readiness] | None = None
        self.found, self.at = NOTHING, -FRESH

    async def ready(self) -> Readiness:
        """What was found last; where looking takes too long, that nothing answers."""
        if time.monotonic() - self.at < FRESH:
            return self.found
        if self.looking is None:
            self.looking = asyncio.create_task(asyncio.to_thread(self._look))
            self.looking.add_done_callback(self._looked)
        done, _ = await asyncio.wait([self.looking], timeout=PATIENCE)
        return self.found if done else NOTHING

    def _look(self) -> Readiness:
        replicas = self.models.ready()
        record, cluster = self.runs.answers()
        ready = record and cluster and all(replicas.values())
        return Readiness(ready=ready, record=record, cluster=cluster, replicas=replicas)

    def _looked(self, task: asyncio.Task[Readiness]) -> None:
        self.looking, self.at = None, time.monotonic()
        self.found = NOTHING if task.exception() else task.result()


@router.get("/ready", responses={503: {"model": Readiness, "description": "Not ready"}})
async def ready(request: Request, response: Response) -> Readiness:
    """Whether runs can be begun and questions answered."""
    found = await request.app.state.probe.ready()
    response.status_code = 200 if found.ready else 503
    return found


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": 'seqrlhf_texts_total{kind="summary"} 12.0'}}}},
)
def metrics(request: Request, holder: Reader) -> Response:
    """Figures for Prometheus. Ray tells its own, of replicas and workers too, on each node's metrics port."""
    figures = generate_latest(registry) + run_figures(request.app.state.runs)
    return Response(figures, media_type=CONTENT_TYPE_LATEST)
