"""Event handlers of the page. They do what the API does and check the same scopes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from learner.adapter import BASE
from service.http.errors import STATUS
from service.http.keys import ApiKey, KeyFile
from service.http.models.service import ModelService
from service.http.runs.schemas import Run
from service.http.runs.service import RunService
from service.page.display import error_message, run_buttons, run_label, state_text, table_row, toxicity_label
from service.report.plots import live
from service.run.step_log import StepTail

SCALED = ("rollout", "reward", "reference")
MAX_RUNS = 50
"""Newest runs that the page shows."""
NO_RUNS = "No run yet. Start one under “Start a run”, or try the untrained model under “Try a summary”."
EXPECTED = tuple(STATUS)
"""Errors that the page shows to the user."""


@dataclass(frozen=True)
class Actions:
    """Each handler takes the values of the page's components and returns new values for others."""

    runs: RunService
    models: ModelService
    keys: KeyFile

    def preset_names(self) -> list[str]:
        """Presets that runs can be based on."""
        return list(self.runs.presets.configs)

    def steps_of(self, preset: str) -> int:
        """Number of steps of a preset."""
        return self.runs.presets.configs[preset].steps

    def adapters(self, request: gr.Request) -> Any:
        """Runs with an adapter to try, the newest one selected."""
        self._require(request, "read")
        names = [name for name in self.models.adapters() if name != BASE]
        labels = [(run_label(self.runs.store.get(name)), name) for name in names]
        info = "Compared with the untrained model" if names else "No trained model yet: start a run"
        return gr.Dropdown(labels, value=names[0] if names else None, info=info)

    async def compare(self, dialogue: str, run: str | None, seed: float | None, request: gr.Request) -> list[Any]:
        """Summaries before and after training, each with its toxicity."""
        key = self._require(request, "generate").name
        adapters = [f"{run}@start", run] if run else [BASE]
        try:
            texts = [texts[0] for texts in await self.models.summarize(adapters, [dialogue], _integer(seed), key)]
            verdicts = await self.models.score(texts, key)
        except EXPECTED as error:
            raise error_message(str(error)) from error
        pairs = [
            part for text, verdict in zip(texts, verdicts, strict=True) for part in (text, toxicity_label(verdict))
        ]
        return pairs + [None] * (4 - len(pairs))

    async def start(self, preset: str, steps: float, seed: float, request: gr.Request) -> list[Any]:
        """Submit a run and show it, or show the errors of the request."""
        key = self._require(request, "submit")
        body = {"base": preset, "steps": _integer(steps), "seed": _integer(seed)}
        try:
            record, _ = await asyncio.to_thread(self.runs.submit, body, key.name)
        except EXPECTED as error:
            return [gr.skip(), gr.skip(), gr.Textbox(str(error), visible=True)]
        selected = gr.Dropdown(self._choices(), value=record.id)
        return [gr.Tabs(selected="runs"), selected, gr.Textbox("", visible=False)]

    def refresh(self, selected: str | None, shown: tuple, request: gr.Request) -> list[Any]:
        """The table and the selected run; its curves only if they differ from those `shown`, a run and a step."""
        self._require(request, "read")
        records = {record.id: record for record in self.runs.store.newest(MAX_RUNS)}
        selected = selected if selected in records else next(iter(records), None)
        table = [table_row(record, self.runs.folder(id)) for id, record in records.items()]
        choices = gr.Dropdown(self._choices(), value=selected)
        if selected is None:
            disabled = [gr.Button(interactive=False)] * 4
            return [table, choices, NO_RUNS, *disabled, *[gr.skip()] * 4, shown]
        run = Run.of(records[selected], self.runs.folder(selected))
        newest = (selected, run.step)
        curves = [gr.skip()] * 4 if newest == tuple(shown) else self._curves(selected)
        return [table, choices, state_text(run), *run_buttons(run), *curves, newest]

    def select(self, event: gr.SelectData) -> str:
        """The run of the clicked row."""
        return event.row_value[0]

    def stop(self, selected: str, request: gr.Request) -> str:
        """Stop the run."""
        self._require(request, "submit")
        return self._try(lambda: self.runs.stop(self.runs.store.get(selected)), "stopping …")

    def resume(self, selected: str, request: gr.Request) -> str:
        """Resume the run."""
        self._require(request, "submit")
        return self._try(lambda: self.runs.resume(self.runs.store.get(selected)), "resuming …")

    def scale(self, selected: str, rollout: float, reward: float, reference: float, request: gr.Request) -> str:
        """Change the run's numbers of workers."""
        self._require(request, "submit")
        numbers = zip(SCALED, (rollout, reward, reference), strict=True)
        wanted = {role: int(number) for role, number in numbers if number}
        return self._try(lambda: self.runs.scale(self.runs.store.get(selected), wanted), "changing workers …")

    def _try(self, action: Callable[[], Any], done: str) -> str:
        try:
            action()
        except (*EXPECTED, KeyError) as error:
            raise error_message(str(error)) from error
        return done

    def _require(self, request: gr.Request, scope: str) -> ApiKey:
        """The key of the request, which has passed `SecurityMiddleware`. Raises an error if it lacks the scope."""
        key = self.keys.authenticate(request.headers.get("authorization"))
        if key is None or scope not in key.scopes:
            raise error_message(f"This key lacks the scope {scope!r}.")
        return key

    def _choices(self) -> list[tuple[str, str]]:
        return [(run_label(record), record.id) for record in self.runs.store.newest(MAX_RUNS)]

    def _curves(self, id: str) -> list[Any]:
        steps = StepTail(self.runs.folder(id)).new()
        return live(steps) if steps else [None] * 4


def _integer(number: float | None) -> int | None:
    """Value of a number field, which is None if empty."""
    return None if number is None else int(number)
