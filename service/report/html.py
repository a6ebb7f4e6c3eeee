"""Self-contained HTML pages with plots by plotly: a single file that fetches nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = ("#636efa", "#ef553b", "#009e73", "#ab63fa", "#c77700", "#1499c4", "#d6457f", "#7a8a00", "#8a6d4b", "#7f8790")
"""Colours of traces, each with a contrast of 3:1 or more on the light and the dark page."""
CLEAR = "rgba(0, 0, 0, 0)"


@dataclass(frozen=True)
class Plot:
    """A plot of a page. Title and legend are HTML, so that they wrap; plotly draws the rest."""

    title: str
    legend: Sequence[tuple[str, str, str]]  # name, colour and dash of each trace; empty if it needs none
    figure: dict[str, Any]


@cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["number"] = number
    environment.globals["plotly"] = Markup(get_plotlyjs())
    return environment


def number(value: float | None, digits: int, sign: str = "") -> str:
    """The number with that many digits, or 'unknown'."""
    return "unknown" if value is None or value != value else f"{value:{sign}.{digits}f}"


def render(template: str, **values: Any) -> str:
    """Render a template; every value is escaped."""
    return _environment().get_template(template).render(**values)


def plot(figure: go.Figure, title: str) -> Plot:
    """The figure for a page; names of its traces may be any text. style.css gives it the colours of the scheme."""
    for i, trace in enumerate(figure.data):
        painted = trace.line if trace.type == "scatter" else trace.marker
        painted.color = painted.color or COLOURS[i % len(COLOURS)]
    legend = [_key(trace) for trace in figure.data] if len(figure.data) > 1 else []
    figure.for_each_trace(lambda trace: trace.update(name=escape(trace.name)))  # plotly takes some tags as markup
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    figure.update_layout(
        template="none", showlegend=False, margin={"l": 40, "r": 10, "t": 10, "b": 40}, hoverlabel={"namelength": -1},
        paper_bgcolor=CLEAR, plot_bgcolor=CLEAR,
    )  # fmt: skip
    return Plot(title, legend, json.loads(figure.to_json()))


def _key(trace: go.Scatter | go.Histogram | go.Bar) -> tuple[str, str, str]:
    if trace.type == "scatter":
        return trace.name, trace.line.color, "dotted" if trace.line.dash == "dot" else "solid"
    return trace.name, trace.marker.color, "solid"
