"""The plots of a reward model's page."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from service.report.html import Plot, plot

DIAGONAL = {"dash": "dot"}


def plots(result: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[Plot]:
    """The plots; `rows` are the held-out pairs with their scores."""
    drawn = [_reliability(result["calibration"]["bins"]), _scores(rows), _lengths(rows)]
    return drawn + ([_curve(result)] if result["curve"] else [])


def _reliability(bins: Sequence[dict[str, float]]) -> Plot:
    confidence, right = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
    pairs = [f"{b['pairs']} pairs" for b in bins]
    figure = go.Figure(
        [
            go.Scatter(x=confidence, y=right, text=pairs, name="model", mode="lines+markers"),
            go.Scatter(x=[0.5, 1], y=[0.5, 1], name="calibrated", mode="lines", line=DIAGONAL),
        ]
    )
    figure.update_layout(xaxis_title="confidence", yaxis_title="accuracy")
    return plot(figure, "Reliability: accuracy of held-out pairs by the model's confidence")


def _scores(rows: Sequence[dict[str, Any]]) -> Plot:
    decided = [row for row in rows if not row["tie"]]
    sides = {"chosen": "score_chosen", "rejected": "score_rejected"}
    figure = go.Figure(
        [go.Histogram(x=[row[key] for row in decided], name=name, opacity=0.6) for name, key in sides.items()]
    )
    figure.update_layout(barmode="overlay", xaxis_title="score", yaxis_title="completions")
    return plot(figure, "Scores of held-out completions")


def _lengths(rows: Sequence[dict[str, Any]]) -> Plot:
    points = [(len(row[side]), row[f"score_{side}"]) for row in rows for side in ("chosen", "rejected")]
    figure = go.Figure([go.Scatter(x=[x for x, _ in points], y=[y for _, y in points], mode="markers", name="score")])
    figure.update_layout(xaxis_title="characters", yaxis_title="score")
    return plot(figure, "Score by length")


def _curve(result: dict[str, Any]) -> Plot:
    curve = result["curve"]
    pairs, shares = [x["learnt_from"] for x in curve], [x["accuracy"] for x in curve]
    above, below = ([abs(x["interval"][side] - x["accuracy"]) for x in curve] for side in (1, 0))
    error = {"type": "data", "array": above, "arrayminus": below, "symmetric": False}
    traces = [go.Scatter(x=pairs, y=shares, error_y=error, name="accuracy", mode="lines+markers")]
    if ceiling := result["ceiling"]:
        flat = [ceiling["accuracy"]] * 2
        traces.append(go.Scatter(x=[pairs[0], pairs[-1]], y=flat, name="ceiling", mode="lines", line=DIAGONAL))
    figure = go.Figure(traces)
    figure.update_layout(xaxis_title="pairs learnt from", yaxis_title="held-out accuracy")
    return plot(figure, "Learning curve")
