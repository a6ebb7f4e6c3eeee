"""What the page does when somebody touches it: the same that clients can do, with the scopes of the same key."""

import asyncio
from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr
from fastapi import FastAPI

from configs.schema import Config
from service.commands.evaluate import BASE
from service.http.errors import STATUS
from service.http.keys import Holder
from service.http.runs.schemas import Doing, Run
from service.http.runs.service import Runs
from service.http.runs.store import Record
from service.report.plots import live
from service.run.step_log import Tail, count_steps
from workers.inference.summarizer import Verdict

SCALED = ("rollout", "reward", "reference")
SHOWN = 50
"""Runs, the newest ones, that the page has."""
TOLD = tuple(STATUS)
"""Errors that are the answer to what somebody did."""


class Actions:
    """Each method is called with what is in the page's parts, and gives what goes into others."""

    def __init__(self, app: FastAPI, config: Config) -> None:
        self.app, self.config = app, config

    @property
    def runs(self) -> Runs:
        """All runs."""
        return self.app.state.runs

    def preset_names(self) -> list[str]:
        """What runs may be based on."""
        return list(self.runs.presets.configs)

    def steps_of(self, preset: str) -> int:
        """Steps that a preset has."""
        return self.runs.presets.configs[preset].steps

    def adapters(self, request: gr.Request) -> Any:
        """Runs whose summaries can be tried; the newest is chosen."""
        self._check(request, "read")
        names = [name for name in self.app.state.desk.adapters() if name != BASE]
        labels = [(self._label(self.runs.registry.get(name)), name) for name in names]
        told = "Shown beside the untrained model" if names else "None has been trained yet: start a run"
        return gr.Dropdown(labels, value=names[0] if names else None, info=told)

    async def compare(self, dialogue: str, run: str | None, seed: float | None, request: gr.Request) -> list[Any]:
        """Summaries before and after, each with its toxicity."""
        self._check(request, "generate")
        desk, names = self.app.state.desk, [BASE, run] if run else [BASE]
        try:
            texts = [made[0] for made in await desk.summaries(names, [dialogue], whole(seed))]
            verdicts = await desk.scores(texts)
        except TOLD as error:
            raise refusal(str(error)) from error
        shown = [part for text, verdict in zip(texts, verdicts, strict=True) for part in (text, _toxicity(verdict))]
        return shown + [None] * (4 - len(shown))

    async def start(self, preset: str, steps: float, seed: float, request: gr.Request) -> list[Any]:
        """Begin a run and show it; or tell what is wrong, and leave everything as it is."""
        holder = self._check(request, "submit")
        body = {"base": preset, "steps": whole(steps), "seed": whole(seed)}
        try:
            record, _ = await asyncio.to_thread(self.runs.submit, body, holder.name)
        except TOLD as error:
            return [gr.skip(), gr.skip(), gr.Textbox(str(error), visible=True)]
        chosen = gr.Dropdown(self._labels(), value=record.id)
        return [gr.Tabs(selected="runs"), chosen, gr.Textbox("", visible=False)]

    def refresh(self, chosen: str | None, seen: tuple, request: gr.Request) -> list[Any]:
        """The table and the run that is chosen; curves only where there are new steps."""
        self._check(request, "read")
        records = self.runs.registry.newest(SHOWN)
        ids = [record.id for record in records]
        chosen = chosen if chosen in ids else next(iter(ids), None)
        table = [self._row(record) for record in records]
        choice = gr.Dropdown(self._labels(), value=chosen)
        if chosen is None:
            hint = "No run yet. Start one under “Start a run”, or try the untrained model under “Try a summary”."
            idle = [gr.Button(interactive=False)] * 4
            return [table, choice, hint, *idle, *[gr.skip()] * 4, seen]
        record = records[ids.index(chosen)]
        run = Run.of(record, self.runs.folder(chosen))
        now = (chosen, run.step)
        curves = [gr.skip()] * 4 if now == tuple(seen) else self._curves(chosen)
        return [table, choice, _state(run), *_buttons(run), *curves, now]

    def choose(self, event: gr.SelectData) -> str:
        """The run of the row that was touched."""
        return event.row_value[0]

    def stop(self, chosen: str, request: gr.Request) -> str:
        """Have the run end early."""
        self._check(request, "submit")
        return self._told(lambda: self.runs.stop(self.runs.registry.get(chosen)), "stopping …")

    def resume(self, chosen: str, request: gr.Request) -> str:
        """Go on with the run."""
        self._check(request, "submit")
        return self._told(lambda: self.runs.resume(self.runs.registry.get(chosen)), "resuming …")

    def scale(self, chosen: str, rollout: float, reward: float, reference: float, request: gr.Request) -> str:
        """Give the run other numbers of workers."""
        self._check(request, "submit")
        numbers = zip(SCALED, (rollout, reward, reference), strict=True)
        wanted = {role: int(number) for role, number in numbers if number}
        return self._told(lambda: self.runs.scale(self.runs.registry.get(chosen), wanted), "asked for other numbers …")

    def _told(self, act: Any, done: str) -> str:
        try:
            act()
        except (*TOLD, KeyError) as error:
            raise refusal(str(error)) from error
        return done

    def _check(self, request: gr.Request, scope: str) -> Holder:
        """Whoever touched the page. Its requests went through the gate as all do."""
        holder: Holder | None = self.app.state.keys.holder(request.headers.get("authorization"))
        if holder is None or scope not in holder.scopes:
            raise refusal(f"This key has not the scope {scope}.")
        return holder

    def _label(self, record: Record) -> str:
        return f"{record.id} · {record.base} · {record.state}"

    def _labels(self) -> list[tuple[str, str]]:
        return [(self._label(record), record.id) for record in self.runs.registry.newest(SHOWN)]

    def _row(self, record: Record) -> list[str]:
        steps = f"{count_steps(self.runs.folder(record.id))} of {record.steps}"
        begun = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M")
        return [record.id, record.base, record.state, steps, begun]

    def _curves(self, id: str) -> list[Any]:
        steps = Tail(self.runs.folder(id)).new()
        return live(steps) if steps else [None] * 4


def refusal(message: str) -> gr.Error:
    """An error as the page tells it: as text, where Gradio would make elements of what is in it."""
    return gr.Error(escape(message), print_exception=False)


def whole(number: float | None) -> int | None:
    """What somebody wrote into a field for numbers, which may be nothing."""
    return None if number is None else int(number)


def _toxicity(verdict: Verdict) -> dict[str, float]:
    return {"toxic": verdict.toxicity, "not toxic": 1 - verdict.toxicity}


def _state(run: Run) -> str:
    told = [f"{run.state}, {run.step} of {run.steps} steps"]
    if run.doing:
        told.append(_doing(run.doing))
    if run.message:
        told.append(run.message)
    elif run.workers and run.state == "running":
        told.append("workers: " + ", ".join(f"{size['ready']} {role}" for role, size in run.workers.items()))
    return "; ".join(told)


def _doing(doing: Doing) -> str:
    """Of training, the steps say how far it is."""
    told = doing.phase
    if doing.total is not None and doing.phase != "training":
        told += f" {doing.done} of {doing.total}"
    return told if doing.seconds_left is None else f"{told}, about {doing.seconds_left:.0f} s left"


def _buttons(run: Run) -> list[Any]:
    ended, files = run.state in ("failed", "stopped", "interrupted"), {file.name: file.url for file in run.files}
    report, adapter = files.get("report.html"), files.get("adapter.zip")
    return [
        gr.Button(interactive=run.state in ("queued", "pending", "running")),
        gr.Button(interactive=ended),
        gr.Button(link=report or "/", interactive=bool(report)),
        gr.Button(link=adapter or "/", interactive=bool(adapter)),
    ]
