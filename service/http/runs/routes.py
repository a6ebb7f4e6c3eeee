"""Routes to presets and runs: list, submit, stop, resume and scale."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response

from configs.errors import UsageError
from service.http.auth import Reader, Submitter
from service.http.root_path import outside
from service.http.runs.dependencies import Runs, get_run, view
from service.http.runs.schemas import PresetAnswer, Run, RunId, WorkerNumbers
from service.run.step_log import without_nan

router = APIRouter(tags=["runs"])
EXAMPLES = {
    "quickstart": {"summary": "The quickstart, shorter", "value": {"base": "quickstart", "steps": 20, "seed": 7}},
    "grpo": {
        "summary": "GRPO",
        "value": {"base": "quickstart_grpo", "algorithm": {"learning_rate": 0.001}, "workers": {"reward": "1-4"}},
    },
}


@router.get("/presets")
def presets(runs: Runs, key: Reader) -> list[PresetAnswer]:
    """Presets that runs can be based on, with all settings."""
    return [
        PresetAnswer(name=name, settings=without_nan(config.model_dump(mode="json", exclude={"serve", "bench"})))
        for name, config in runs.presets.configs.items()
    ]


@router.post("/runs", status_code=201, responses={200: {"model": Run, "description": "The run was submitted before"}})
def submit(
    runs: Runs,
    response: Response,
    key: Submitter,
    body: Annotated[dict[str, Any], Body(openapi_examples=EXAMPLES)],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Run:
    """Submit a run. The body holds settings as a YAML file would, merged over the preset that `base` names."""
    record, new = runs.submit(body, key.name, idempotency_key)
    response.status_code = 201 if new else 200
    response.headers["Location"] = outside(f"/runs/{record.id}")
    return view(runs, record)


@router.get("/runs")
def runs(
    runs: Runs,
    key: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> list[Run]:
    """List runs, newest first: at most `limit` after skipping `offset`."""
    return [view(runs, record) for record in runs.store.newest(limit, offset)]


@router.get("/runs/{run}")
def run(runs: Runs, key: Reader, run: RunId) -> Run:
    """Get a run."""
    return view(runs, get_run(runs, run))


@router.post("/runs/{run}/stop", status_code=202)
def stop(runs: Runs, key: Submitter, run: RunId) -> Run:
    """Stop a run. What it has done is kept, and it can be resumed."""
    return view(runs, runs.stop(get_run(runs, run)))


@router.post("/runs/{run}/resume", status_code=202)
def resume(runs: Runs, key: Submitter, run: RunId) -> Run:
    """Resume a run that failed, was stopped or was interrupted."""
    return view(runs, runs.resume(get_run(runs, run)))


@router.patch("/runs/{run}/workers", status_code=202)
def scale(runs: Runs, key: Submitter, run: RunId, numbers: WorkerNumbers) -> Run:
    """Change the numbers of workers of a running run. Its `workers` show the change within seconds."""
    record, wanted = get_run(runs, run), numbers.model_dump(exclude_none=True)
    if not wanted:
        raise UsageError('workers: name a role and a number, such as {"reward": 4}')
    runs.scale(record, wanted)
    return view(runs, record)
