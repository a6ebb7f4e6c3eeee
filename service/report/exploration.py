"""The overview of a data set: its sections, with tables and plots, and its page."""

import html
from typing import Any, NamedTuple

import plotly.graph_objects as go

from service.report.html import Plot, plot, render
from workers.data.exploration import FATES

MEASURES = {"dialogue_chars": "dialogue, characters", "dialogue_tokens": "dialogue, tokens",
            "prompt_tokens": "prompt, tokens", "summary_chars": "summary, characters",
            "summary_tokens": "summary, tokens"}  # fmt: skip
BOUNDS = {"dialogue_chars": ("min_chars", "max_chars"), "prompt_tokens": ("max_prompt_tokens",)}
"""Measure -> settings under `data` that bound it."""
STATISTICS = ("min", "median", "mean", "p90", "max")
LABEL = 30
"""Characters of a label in a plot."""


class Section(NamedTuple):
    """A table with a note; plots are only shown on the page."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    plots: list[Plot]


def sections(numbers: dict[str, Any]) -> list[Section]:
    """All sections except the samples, in display order."""
    return [_counts(numbers), _filter(numbers), _lengths(numbers), *_topics(numbers), *_duplicates(numbers)]


def page(title: str, shown: list[Section], numbers: dict[str, Any]) -> str:
    """The HTML page, a single self-contained file."""
    return render("explore.html", title=title, sections=shown, samples=numbers["samples"],
                  shared=numbers["shared"])  # fmt: skip


def _counts(numbers: dict[str, Any]) -> Section:
    rows = []
    for name, split in numbers["splits"].items():
        references = ", ".join(f"{n} ({times} dialogues)" for n, times in split["references"].items())
        rows.append((name, split["rows"], split["dialogues"], split["rows_without_summary"], references))
    head = ("split", "rows", "dialogues", "rows without summary", "references per dialogue")
    note = "Rows with the same dialogue count as one dialogue with several references."
    note = " ".join([note, *(f"Left out: {name}, {reason}." for name, reason in numbers["skipped"].items())])
    return Section("Splits", note, head, rows, [])


def _filter(numbers: dict[str, Any]) -> Section:
    head = ("split", *(fate.replace("_", " ") for fate in FATES), "prompts kept")
    rows = [(name, *(split["filter"][fate] for fate in FATES), split["prompts"])
            for name, split in numbers["splits"].items()]  # fmt: skip
    bounds = ", ".join(f"data.{bound} {value}" for bound, value in numbers["bounds"].items())
    note = f"Number of rows by filter result ({bounds}). Empty: no text. Prompts kept: distinct dialogues."
    return Section("What the filter keeps", note, head, rows, [])


def _lengths(numbers: dict[str, Any]) -> Section:
    rows = [
        (MEASURES[measure], name, *_statistics(split["lengths"][measure]))
        for measure in MEASURES
        for name, split in numbers["splits"].items()
    ]
    note = f"Tokens of {numbers['tokenizer']}, including special tokens; a prompt is the template with the dialogue."
    plots = [_histogram(measure, numbers) for measure in MEASURES]
    return Section("Lengths", note, ("measure", "split", *STATISTICS), rows, plots)


def _statistics(lengths: dict[str, float] | None) -> list[float | str]:
    return [round(lengths[name], 1) if lengths else "none" for name in STATISTICS]


def _histogram(measure: str, numbers: dict[str, Any]) -> Plot:
    figure, histogram = go.Figure(), numbers["histograms"][measure]
    edges = histogram["edges"]
    for name, counts in histogram["counts"].items():
        shares = [100 * count / max(1, sum(counts)) for count in counts]
        figure.add_scatter(x=edges, y=[*shares, shares[-1]], name=shorten(name, LABEL), line_shape="hv", fill="tozeroy",
                           mode="lines", line_width=1.5)  # fmt: skip
    for bound in BOUNDS.get(measure, ()):
        if edges[0] < (value := numbers["bounds"][bound]) < edges[-1]:  # elsewhere it excludes nothing
            figure.add_vline(value, line_dash="dot", annotation_text=bound)
    figure.update_yaxes(ticksuffix=" %", rangemode="tozero")
    return plot(figure, MEASURES[measure])


def _topics(numbers: dict[str, Any]) -> list[Section]:
    topics = numbers["topics"]
    if not topics:
        return []
    names, others = list(topics["others"]["rows"]), topics["others"]
    rows = [(entry["topic"], *entry["rows"].values()) for entry in topics["top"]]
    if others["topics"]:
        rows.append((f"({others['topics']} others)", *others["rows"].values()))
    note = f"Rows of each split by topic; {topics['distinct']} topics in total."
    return [Section("Topics", note, ("topic", *names), rows, [_topic_plot(topics["top"], names)])]


def _topic_plot(top: list[dict[str, Any]], names: list[str]) -> Plot:
    """Bars at numbered positions, so that two topics with the same shortened label stay separate."""
    places, labels = list(range(len(top))), [_label(entry["topic"]) for entry in top]
    figure = go.Figure([go.Bar(x=places, y=[entry["rows"][name] for entry in top], name=shorten(name, LABEL))
                        for name in names])  # fmt: skip
    figure.update_xaxes(tickvals=places, ticktext=labels, tickangle=-40, automargin=True)
    figure.update_layout(barmode="group")
    return plot(figure, "rows of the most frequent topics")


def _duplicates(numbers: dict[str, Any]) -> list[Section]:
    rows = [(name, split["repeated_rows"], split["near_duplicates"]) for name, split in numbers["splits"].items()]
    note = "Rows that repeat both dialogue and summary; dialogues that differ from another only in case or whitespace."
    within = Section("Duplicates within a split", note, ("split", "repeated rows", "near duplicates"), rows, [])
    rows = [(" and ".join(s["splits"]), s["exact"], s["near"]) for s in numbers["shared"]]
    note = "Dialogues in both splits, identical or except for case and whitespace. Held-out dialogues should be new."
    between = Section("Duplicates between splits", note, ("splits", "identical", "near duplicates"), rows, [])
    return [within, between] if rows else [within]


def _label(text: str) -> str:
    """A text in a plot, escaped because plotly takes some tags as markup."""
    return html.escape(shorten(text, LABEL), quote=False)


def shorten(text: str, length: int) -> str:
    """The text, cut to at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
