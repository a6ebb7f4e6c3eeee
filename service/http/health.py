"""Routes for monitoring: liveness, readiness and Prometheus metrics."""

import asyncio
import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ConfigDict

from cluster.serving.client import ModelClient
from configs.errors import RunError
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
        json_schema_extra={"examples": [{"ready": True, "waiting_for": [], "replicas": {"summaries": 1, "scores": 1}}]}
    )

    ready: bool
    """True if runs can be recorded and submitted, and each kind of model has a running replica."""
    waiting_for: list[str]
    """What keeps it from being ready."""
    replicas: dict[str, int]
    """Running replicas by kind of model."""


def not_ready(*reasons: str) -> Readiness:
    """Not ready, for these reasons."""
    return Readiness(ready=False, waiting_for=list(reasons), replicas={})


class ReadinessCheck:
    """Checks records, cluster and replicas at most once a second and never concurrently, however many requests ask."""

    def __init__(self, runs: RunService, client: ModelClient) -> None:
        self.runs, self.client = runs, client
        self._check: asyncio.Task[Readiness] | None = None
        self._result, self._finished = not_ready(), -MAX_AGE

    async def result(self) -> Readiness:
        """The newest result; not ready if a check takes too long."""
        if time.monotonic() - self._finished < MAX_AGE:
            return self._result
        if self._check is None:
            self._check = asyncio.create_task(asyncio.to_thread(self._run))
            self._check.add_done_callback(self._finish)
        done, _ = await asyncio.wait([self._check], timeout=TIMEOUT)
        return self._result if done else not_ready(f"the cluster did not respond within {TIMEOUT:g} s")

    def _run(self) -> Readiness:
        waiting_for = []
        for check in (self.runs.check_folder, self.runs.check_cluster):
            try:
                check()
            except RunError as error:
                waiting_for.append(str(error))
        replicas = self.client.ready()
        waiting_for += [f"no replica of {kind} is running" for kind, number in replicas.items() if not number]
        return Readiness(ready=not waiting_for, waiting_for=waiting_for, replicas=replicas)

    def _finish(self, check: asyncio.Task[Readiness]) -> None:
        self._check, self._finished = None, time.monotonic()
        if check.cancelled():  # the server has stopped
            return
        error = check.exception()
        self._result = not_ready(f"the check failed: {error}") if error else check.result()


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
