"""The plots of a report."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from service.report.html import COLOURS, Plot, plot
from workers.evaluation.measures import Measure

CURVES = {
    "Reward": {"reward/mean": "mean"},
    "KL from the reference, nats per summary": {"objective/kl": "penalised", "objective/kl_k3": "k3"},
    "Toxicity": {"watch/toxicity": "reward model", "watch/second_judge": "second judge"},
    "ROUGE-L of the training summaries": {"watch/rougeL": "ROUGE-L"},
    "Total score by the old and by the new reward": {"reward/old_total": "old", "reward/new_total": "new"},
    "Returns": {"value/returns_mean": "mean"},
    "Advantages": {"policy/advantages_mean": "mean"},
    "Value loss": {"value/loss": "value loss"},
    "Clip fraction": {"policy/clip_fraction": "policy", "value/clip_fraction": "value"},
    "Entropy per token, nats": {"policy/entropy": "entropy"},
    "Tokens per summary": {"tokens/completions_mean": "mean"},
    "Share of prompts with the most common summary": {"watch/commonest": "share"},
    "Throughput, tokens per second": {"time/tokens_per_second": "tokens/s"},
}
DISTRIBUTIONS = {"toxicity": "Toxicity", "score": "Reward", "tokens": "Tokens per summary"}
LIVE = dict(list(CURVES.items())[:4])
"""The curves on the page of a run, also while it is running."""
DASHES = ("solid", "dot")
BINS = 30


def curves(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Plot]:
    """A plot for each kind of metric that any run has, with a colour per run."""
    plots = []
    for title, metrics in {**CURVES, **_own_curves(runs)}.items():
        traces = [
            _curve(steps, name, label if len(runs) == 1 else f"{run}, {label}", COLOURS[i % len(COLOURS)], dash)
            for i, (run, steps) in enumerate(runs.items())
            for (name, label), dash in zip(metrics.items(), DASHES, strict=False)
            if any(name in step for step in steps)
        ]
        if traces:
            figure = go.Figure(traces)
            figure.update_layout(xaxis_title="step")
            for step, version in _reward_changes(runs):
                figure.add_vline(x=step + 1, line_dash="dash", annotation_text=f"reward version {version}")
            plots.append(plot(figure, title))
    return plots


def _reward_changes(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[tuple[int, int]]:
    """First step of each later version of the reward; none for several runs, whose marks would cover each other."""
    [steps, *others] = runs.values()
    versions = [] if others else [(int(step["step"]), int(step.get("reward/version", 0))) for step in steps]
    return [now for before, now in pairwise(versions) if now[1] != before[1]]


def _own_curves(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, str]]:
    """Curves of the parts of a reward that has several, and of the metrics that were watched."""
    known = {name for metrics in CURVES.values() for name in metrics}
    names = [name for name in dict.fromkeys(n for steps in runs.values() for n in steps[-1]) if name not in known]
    parts = [name for name in names if name.startswith("score/")]
    watched = {f"{name.removeprefix('watch/')} of the training summaries": {name: "mean"}
               for name in names if name.startswith("watch/")}  # fmt: skip
    return watched | {f"Reward {name.removeprefix('score/')}": {name: "mean"} for name in parts if len(parts) > 1}


def _curve(steps: Sequence[Mapping[str, float]], name: str, label: str, colour: str, dash: str) -> go.Scatter:
    x, y = zip(*[(step["step"] + 1, step[name]) for step in steps if name in step], strict=True)
    line: dict[str, Any] = {"color": colour, "dash": dash}
    return go.Scatter(x=x, y=y, name=label, line=line, mode="lines" if len(x) > 1 else "markers")


def distributions(table: pd.DataFrame, chief: Sequence[Measure]) -> list[Plot]:
    """Histograms of the sampled summaries' measures, with the policies overlaid."""
    sampled, plots = table[table["decoding"] == "sampled"], []
    metrics = {measure.name: measure.title for measure in chief if measure.name not in DISTRIBUTIONS}
    for column, title in {**DISTRIBUTIONS, **metrics}.items():
        if column not in table.columns:
            continue
        known = sampled[column].dropna().astype(float)
        if known.empty:
            continue
        low, high = known.min(), known.max()
        size = (high - low) / BINS or 1.0
        bins = {"start": low, "end": max(high + 1e-9, low + size), "size": size}
        figure = go.Figure(
            [
                go.Histogram(x=part[column].astype(float).round(4), name=str(policy), opacity=0.6, xbins=bins)
                for policy, part in sampled.groupby("policy", sort=False)
            ]
        )
        figure.update_layout(barmode="overlay", yaxis_title="summaries")
        plots.append(plot(figure, title))
    return plots
