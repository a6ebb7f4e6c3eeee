"""Routes for monitoring: liveness, readiness and Prometheus metrics."""

import asyncio
import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ConfigDict

from cluster.serving.client import ModelClient
from service.http.auth import Reader
from service.http.metrics import registry
from service.http.runs.dependencies import Runs
from service.http.runs.metrics import run_metrics
from service.http.runs.service import RunService
from service.http.schemas import Schema

router = APIRouter(tags=["health"])
MAX_AGE, TIMEOUT = 1.0, 5.0
"""Seconds for which the result of a readiness check is reused, and which a request waits for one."""


class Health(Schema):
    """Liveness."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str
    """ok."""


class Readiness(Schema):
    """Whether the service can start runs and answer requests to models."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ready": True, "record": True, "cluster": True, "replicas": {"summary": 1}}]}
    )

    ready: bool
    """True if the records and the cluster are available, and each kind of model has a running replica."""
    record: bool
    """The records of runs can be read."""
    cluster: bool
    """Ray responds."""
    replicas: dict[str, int]
    """Running replicas by kind of model."""


NOT_READY = Readiness(ready=False, record=False, cluster=False, replicas={})


class ReadinessCheck:
    """Checks records, cluster and replicas at most once a second and never concurrently, however many requests ask."""

    def __init__(self, runs: RunService, client: ModelClient) -> None:
        self.runs, self.client = runs, client
        self._check: asyncio.Task[Readiness] | None = None
        self._result, self._finished = NOT_READY, -MAX_AGE

    async def result(self) -> Readiness:
        """The newest result; `NOT_READY` if a check takes too long."""
        if time.monotonic() - self._finished < MAX_AGE:
            return self._result
        if self._check is None:
            self._check = asyncio.create_task(asyncio.to_thread(self._run))
            self._check.add_done_callback(self._finish)
        done, _ = await asyncio.wait([self._check], timeout=TIMEOUT)
        return self._result if done else NOT_READY

    def _run(self) -> Readiness:
        replicas = self.client.ready()
        record, cluster = self.runs.health()
        ready = record and cluster and all(replicas.values())
        return Readiness(ready=ready, record=record, cluster=cluster, replicas=replicas)

    def _finish(self, check: asyncio.Task[Readiness]) -> None:
        self._check, self._finished = None, time.monotonic()
        self._result = NOT_READY if check.exception() else check.result()


@router.get("/health")
async def get_health() -> Health:
    """Check that the process responds."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": Readiness, "description": "Not ready"}})
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Check that runs can be started and requests to models answered."""
    readiness = await request.app.state.readiness.result()
    response.status_code = 200 if readiness.ready else 503
    return readiness


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {"schema": {"type": "string"}, "example": 'seqrlhf_texts_total{kind="summary"} 12.0'}
            }
        }
    },
)
def get_metrics(runs: Runs, key: Reader) -> Response:
    """Get metrics for Prometheus. Ray exports metrics of replicas, workers and nodes on each node's metrics port."""
    return Response(generate_latest(registry) + run_metrics(runs), media_type=CONTENT_TYPE_LATEST)
