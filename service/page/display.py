"""How the page shows runs and verdicts: texts and states of its components."""

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from service.http.runs.schemas import Activity, Run
from service.http.runs.store import RunRecord
from service.run.step_log import count_steps
from workers.inference.scorer import Verdict


def error_message(message: str) -> gr.Error:
    """An error as the page shows it. Escaped: Gradio would render HTML in it."""
    return gr.Error(escape(message), print_exception=False)


def run_label(record: RunRecord) -> str:
    """A run in a dropdown."""
    return f"{record.id} · {record.base} · {record.state}"


def table_row(record: RunRecord, folder: Path) -> list[str]:
    """A run in the table of runs."""
    submitted = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M")
    return [record.id, record.base, record.state, f"{count_steps(folder)} of {record.steps}", submitted]


def state_text(run: Run) -> str:
    """State of a run, what it is doing, and its message or workers."""
    parts = [f"{run.state}, {run.step} of {run.steps} steps"]
    if run.doing:
        parts.append(_activity(run.doing))
    if run.message:
        parts.append(run.message)
    elif run.workers and run.state == "running":
        parts.append("workers: " + ", ".join(f"{size['ready']} {role}" for role, size in run.workers.items()))
    return "; ".join(parts)


def _activity(activity: Activity) -> str:
    text = activity.phase
    if activity.total is not None and activity.phase != "training":  # its steps are already shown
        text += f" {activity.done} of {activity.total}"
    return text if activity.seconds_left is None else f"{text}, about {activity.seconds_left:.0f} s left"


def run_buttons(run: Run) -> list[Any]:
    """Stop, resume, report and download of a run, each enabled if it applies."""
    files = {file.name: file.url for file in run.files}
    report, adapter = files.get("report.html"), files.get("adapter.zip")
    return [
        gr.Button(interactive=run.state in ("queued", "pending", "running")),
        gr.Button(interactive=run.state in ("failed", "stopped", "interrupted")),
        gr.Button(link=report or "/", interactive=bool(report)),
        gr.Button(link=adapter or "/", interactive=bool(adapter)),
    ]


def toxicity_label(verdict: Verdict) -> dict[str, float]:
    """A verdict as the values of a label component."""
    return {"toxic": verdict.toxicity, "not toxic": 1 - verdict.toxicity}
