"""Routes to presets and runs: list, submit, stop, resume, scale, change the reward."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response

from configs.errors import UsageError
from service.http.auth import Reader, Submitter
from service.http.root_path import outside
from service.http.runs.dependencies import Runs, find_run, view
from service.http.runs.pages import Cursor, cursor_after, link_next, parse_cursor
from service.http.runs.reward_schemas import RewardSettings
from service.http.runs.schemas import PresetAnswer, Run, RunId, RunList, RunState, WorkerNumbers
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
def list_presets(runs: Runs, key: Reader) -> list[PresetAnswer]:
    """Presets that runs can be based on, with all settings."""
    return [
        PresetAnswer(name=name, settings=without_nan(config.model_dump(mode="json", exclude={"serve", "bench"})))
        for name, config in runs.presets.configs.items()
    ]


@router.post("/runs", status_code=201, responses={200: {"model": Run, "description": "The run was submitted before"}})
def submit_run(
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
def list_runs(
    request: Request,
    response: Response,
    runs: Runs,
    key: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor | None = None,
    state: RunState | None = None,
) -> RunList:
    """List runs, newest first: `limit` of them, after the page whose `next` is given as `cursor`. The header Link leads
    to the next page."""
    found = runs.store.page(limit + 1, parse_cursor(cursor) if cursor else None, state)
    shown, following = found[:limit], None
    if len(found) > limit:
        following = cursor_after(shown[-1])
        link_next(request, response, cursor=following)
    return RunList(runs=[view(runs, record) for record in shown], total=runs.store.count(state), next=following)


@router.get("/runs/{run}")
def get_run(runs: Runs, key: Reader, run: RunId) -> Run:
    """Get a run."""
    return view(runs, find_run(runs, run))


@router.post("/runs/{run}/stop", status_code=202)
def stop_run(runs: Runs, key: Submitter, run: RunId) -> Run:
    """Stop a run. What it has done is kept, and it can be resumed."""
    return view(runs, runs.stop(find_run(runs, run)))


@router.post("/runs/{run}/resume", status_code=202)
def resume_run(runs: Runs, key: Submitter, run: RunId) -> Run:
    """Resume a run that failed, was stopped or was interrupted."""
    return view(runs, runs.resume(find_run(runs, run)))


@router.patch("/runs/{run}/workers", status_code=202)
def scale_run(runs: Runs, key: Submitter, run: RunId, numbers: WorkerNumbers) -> Run:
    """Change the numbers of workers of a running run. Its `workers` show the change within seconds."""
    record, wanted = find_run(runs, run), numbers.model_dump(exclude_none=True)
    if not wanted:
        raise UsageError('workers: name a role and a number, such as {"reward": 4}')
    runs.scale(record, wanted)
    return view(runs, record)


@router.patch("/runs/{run}/reward", status_code=202)
def change_reward(runs: Runs, key: Submitter, run: RunId, change: RewardSettings) -> Run:
    """Change a part of a running run's reward when a step begins. Its `reward` shows the answer."""
    record, settings = find_run(runs, run), change.model_dump(exclude_none=True, exclude={"part", "at_step"})
    runs.change_reward(record, change.part, settings, change.at_step)
    return view(runs, record)
