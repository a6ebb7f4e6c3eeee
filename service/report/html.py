"""Self-contained HTML pages with plots by plotly: a single file that fetches nothing."""

from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

TEMPLATES = Path(__file__).parent / "templates"
HEIGHT = 300


@cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["number"] = _number
    environment.globals["plotly"] = Markup(get_plotlyjs())
    return environment


def _number(number: float | None, digits: int, sign: str = "") -> str:
    return "unknown" if number is None or number != number else f"{number:{sign}.{digits}f}"


def render(template: str, **values: Any) -> str:
    """Render a template; every value is escaped, except plots."""
    return _environment().get_template(template).render(**values)


def plot(figure: go.Figure, title: str) -> Markup:
    """The HTML of a figure. plotly escapes data in its script; names of traces must be escaped by the caller."""
    figure.update_layout(styled(title))
    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})
    )


def styled(title: str) -> dict[str, Any]:
    """The layout shared by all figures."""
    return {
        "title": title,
        "height": HEIGHT,
        "margin": {"l": 50, "r": 20, "t": 40, "b": 40},
        "template": "plotly_white",
        "legend": {"orientation": "h", "y": 1, "x": 1, "xanchor": "right", "yanchor": "bottom"},
    }
