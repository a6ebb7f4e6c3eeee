"""The page: runs and their curves, summaries before and after, and how to begin a run."""

from typing import Any

import gradio as gr
from fastapi import FastAPI

from configs.schema import Config
from service.page.actions import SCALED, Actions
from service.report.plots import LIVE

LOOK = 2.0
"""Seconds between two looks at the runs."""
AT_ONCE = 16
"""People who may have pressed the same button and wait for it; Gradio's default is one."""
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


def mount_page(app: FastAPI, config: Config) -> None:
    """Put the page at /."""
    theme = gr.themes.Default(font=FONTS, font_mono=("ui-monospace", "monospace"))
    gr.mount_gradio_app(
        app, build(Actions(app, config)), path="/", theme=theme, css=STYLE, ssr_mode=False, footer_links=[],
        enable_monitoring=False, pwa=False, run_history=False, mcp_server=False, show_error=False,
    )  # fmt: skip


class Page(gr.Blocks):
    """Parts that people fill with texts and numbers only."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """What came in. Of an object that is made like a file Gradio would fetch the path or address that it names."""
        if any(isinstance(value, dict | list) for value in inputs):
            raise gr.Error("The page sends no such thing.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def build(actions: Actions) -> gr.Blocks:
    """The page's parts, and what happens when they are touched."""
    with Page(title="seqrlhf", analytics_enabled=False) as page:
        gr.Markdown("# seqrlhf\nFine-tune a summarizer by reinforcement learning so that its summaries are less toxic.")
        with gr.Tabs() as tabs:
            with gr.Tab("Try a summary", id="try") as tab:
                _playground(page, tab, actions)
            with gr.Tab("Start a run", id="start"):
                start = _start(actions)
            with gr.Tab("Runs", id="runs"):
                chosen = _runs(page, actions)
        start["button"].click(actions.start, start["inputs"], [tabs, chosen, start["told"]])
    return page.queue(default_concurrency_limit=AT_ONCE)


def _playground(page: gr.Blocks, tab: gr.Tab, actions: Actions) -> None:
    with gr.Row():
        with gr.Column():
            dialogue = gr.Textbox(EXAMPLE, label="Dialogue", lines=8, max_lines=20, elem_id="dialogue")
            with gr.Row():
                after = gr.Dropdown([], label="Trained by run", elem_id="adapter")
                seed = gr.Number(
                    1, precision=0, minimum=0, label="Seed", info="Another seed, another sample; empty: likeliest words"
                )
            button = gr.Button("Summarize", variant="primary", elem_id="summarize")
    with gr.Row():
        shown = []
        for name in ("before", "after"):
            with gr.Column(min_width=280):
                shown.append(gr.Textbox(label=f"Summary {name} training", lines=3, elem_id=f"summary-{name}"))
                shown.append(gr.Label(label=f"Toxicity {name} training", elem_id=f"score-{name}"))
    button.click(actions.compare, [dialogue, after, seed], shown)
    gr.on([page.load, tab.select], actions.adapters, None, after)  # runs may have ended meanwhile


def _start(actions: Actions) -> dict:
    names = actions.preset_names()
    preset = gr.Dropdown(
        names, value=names[0], label="Preset", info="Models, data and algorithm of the run", elem_id="preset"
    )
    with gr.Row():
        steps = gr.Number(
            actions.steps_of(names[0]), precision=0, minimum=1, label="Steps", info="Rollout and update rounds"
        )
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", info="Everything random follows from it")
    preset.change(actions.steps_of, preset, steps)
    button = gr.Button("Start", variant="primary", elem_id="start")
    told = gr.Textbox(label="What is wrong", visible=False, elem_id="start-errors")
    return {"button": button, "inputs": [preset, steps, seed], "told": told}


def _runs(page: gr.Blocks, actions: Actions) -> gr.Dropdown:
    table = gr.Dataframe(
        headers=["run", "preset", "state", "steps", "begun"], datatype="str", interactive=False, elem_id="runs",
        label="All runs",
    )  # fmt: skip
    chosen = gr.Dropdown([], label="Show run", elem_id="run")
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
            gr.Number(0, label=f"{role} workers", info="0: as now", precision=0, minimum=0, min_width=120)
            for role in SCALED
        ]
        scale = gr.Button("Set workers", elem_id="scale")
    seen, timer = gr.State(()), gr.Timer(LOOK)
    every = [table, chosen, state, stop, resume, report, adapter, *plots, seen]
    gr.on([page.load, timer.tick, chosen.change], actions.refresh, [chosen, seen], every, show_progress="hidden")
    table.select(actions.choose, None, chosen)
    stop.click(actions.stop, chosen, state)
    resume.click(actions.resume, chosen, state)
    scale.click(actions.scale, [chosen, *numbers], state)
    return chosen
