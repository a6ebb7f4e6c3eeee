"""Layout of the page: summaries before and after training, a form to start a run, and runs with their curves."""

from typing import Any

import gradio as gr
from fastapi import FastAPI

from service.page.actions import SCALED, Actions
from service.report.plots import LIVE

REFRESH = 2.0
"""Seconds between two updates of the runs."""
CONCURRENCY = 16
"""Clicks on the same button that are handled at the same time; Gradio's default is one."""
EXAMPLE = """#Person1#: Good morning. I am a train passenger. Are you the station master?
#Person2#: Yes, I am. What can I do for you?
#Person1#: Let me remind you that the ferry had no free seats last night.
#Person2#: I see.
#Person1#: I told you so before. I demand an apology. I am sick of you, you lousy fool!
#Person2#: I have to refuse that.
#Person1#: Listen to me, you clueless imbecile! Very well. Goodbye."""
STYLE = """
footer {display: none !important}
.gradio-container {width: 100% !important; max-width: 1200px !important; margin: auto}
.gradio-container * {min-width: 0}
"""
FONTS = ("system-ui", "sans-serif")


def mount_page(app: FastAPI, actions: Actions) -> None:
    """Mount the page at /."""
    theme = gr.themes.Default(font=FONTS, font_mono=("ui-monospace", "monospace"))
    gr.mount_gradio_app(
        app, build(actions), path="/", theme=theme, css=STYLE, ssr_mode=False, footer_links=[],
        enable_monitoring=False, pwa=False, run_history=False, mcp_server=False, show_error=False,
    )  # fmt: skip


class Page(gr.Blocks):
    """Blocks whose components take texts and numbers only."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Refuse objects: Gradio would open the path or URL in an object that looks like a file."""
        if any(isinstance(value, dict | list) for value in inputs):
            raise gr.Error("Invalid input: only texts and numbers are accepted.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def build(actions: Actions) -> gr.Blocks:
    """The page's components and their event handlers."""
    with Page(title="seqrlhf", analytics_enabled=False) as page:
        gr.Markdown(
            "# seqrlhf\nFine-tune a summarizer with reinforcement learning so that its summaries become less toxic."
        )
        with gr.Tabs() as tabs:
            with gr.Tab("Try a summary", id="try") as tab:
                _playground(page, tab, actions)
            with gr.Tab("Start a run", id="start"):
                start = _start(actions)
            with gr.Tab("Runs", id="runs"):
                selected = _runs(page, actions)
        start["button"].click(actions.start, start["inputs"], [tabs, selected, start["errors"]])
    return page.queue(default_concurrency_limit=CONCURRENCY)


def _playground(page: gr.Blocks, tab: gr.Tab, actions: Actions) -> None:
    with gr.Row():
        with gr.Column():
            dialogue = gr.Textbox(EXAMPLE, label="Dialogue", lines=8, max_lines=20, elem_id="dialogue")
            with gr.Row():
                after = gr.Dropdown([], label="Trained model (run)", elem_id="adapter")
                seed = gr.Number(1, precision=0, minimum=0, label="Seed", info="For sampling; empty: greedy decoding")
            button = gr.Button("Summarize", variant="primary", elem_id="summarize")
    with gr.Row():
        shown = []
        for name in ("before", "after"):
            with gr.Column(min_width=280):
                shown.append(gr.Textbox(label=f"Summary {name} training", lines=3, elem_id=f"summary-{name}"))
                shown.append(gr.Label(label=f"Toxicity {name} training", elem_id=f"score-{name}"))
    button.click(actions.compare, [dialogue, after, seed], shown)
    gr.on([page.load, tab.select], actions.adapters, None, after)  # again on select: runs may have ended meanwhile


def _start(actions: Actions) -> dict[str, Any]:
    names = actions.preset_names()
    preset = gr.Dropdown(
        names, value=names[0], label="Preset", info="Models, data and algorithm of the run", elem_id="preset"
    )
    with gr.Row():
        steps = gr.Number(
            actions.steps_of(names[0]), precision=0, minimum=1, label="Steps", info="Rollout and update rounds"
        )
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", info="Seeds all randomness of the run")
    preset.change(actions.steps_of, preset, steps)
    button = gr.Button("Start", variant="primary", elem_id="start")
    errors = gr.Textbox(label="Errors", visible=False, elem_id="start-errors")
    return {"button": button, "inputs": [preset, steps, seed], "errors": errors}


def _runs(page: gr.Blocks, actions: Actions) -> gr.Dropdown:
    table = gr.Dataframe(
        headers=["run", "preset", "state", "steps", "submitted"], datatype="str", interactive=False, elem_id="runs",
        label="Newest runs",
    )  # fmt: skip
    selected = gr.Dropdown([], label="Show run", elem_id="run")
    state = gr.Textbox(label="State", elem_id="state", interactive=False)
    with gr.Row():
        plots = [gr.Plot(label=title, show_label=False, min_width=280) for title in LIVE[:2]]
    with gr.Row():
        plots += [gr.Plot(label=title, show_label=False, min_width=280) for title in LIVE[2:]]
    with gr.Row():
        stop, resume = gr.Button("Stop", variant="stop", elem_id="stop"), gr.Button("Resume", elem_id="resume")
        report = gr.Button("Report", link="/", link_target="_blank", elem_id="report", interactive=False)
        adapter = gr.Button("Download adapter", link="/", elem_id="download", interactive=False)
    with gr.Row():
        numbers = [
            gr.Number(0, label=f"{role} workers", info="0: unchanged", precision=0, minimum=0, min_width=120)
            for role in SCALED
        ]
        scale = gr.Button("Set workers", elem_id="scale")
    shown, timer = gr.State(()), gr.Timer(REFRESH)
    outputs = [table, selected, state, stop, resume, report, adapter, *plots, shown]
    updates = [page.load, timer.tick, selected.change]
    gr.on(updates, actions.refresh, [selected, shown], outputs, show_progress="hidden")
    table.select(actions.select, None, selected)
    stop.click(actions.stop, selected, state)
    resume.click(actions.resume, selected, state)
    scale.click(actions.scale, [selected, *numbers], state)
    return selected
