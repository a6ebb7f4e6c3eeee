"""`ray_job.py explore`: the data set at a glance, as tables on the terminal, as a page and as figures for programs."""

import html
import json
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from cluster.preflight.hub import go_offline, hub_is_reachable
from cluster.preflight.models import check_tokenizer
from cluster.preflight.preflight import check_out, collect
from configs import schema
from configs.algorithms import ByColumn, GroupBy
from configs.errors import UsageError
from configs.schema import Config
from learner.atomic_files import replace_file
from service.report.html import plot, render
from service.run.folder import new_folder
from service.run.progress import Display, silence_libraries
from workers.data.exploration import FATES, Split, explore_splits
from workers.data.prompts import read_table, split_names

MEASURES = {"dialogue_chars": "dialogue, characters", "dialogue_tokens": "dialogue, tokens",
            "prompt_tokens": "prompt, tokens", "summary_chars": "summary, characters",
            "summary_tokens": "summary, tokens"}  # fmt: skip
BOUNDS = {"dialogue_chars": ("min_chars", "max_chars"), "prompt_tokens": ("max_prompt_tokens",)}
STATISTICS = ("min", "median", "mean", "p90", "max")
LABEL, EXCERPT = 30, 600
"""Characters of a topic under a bar, and of a dialogue on the terminal."""


class Section(NamedTuple):
    """A table with what is to be said of it; plots are for the page."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    plots: list[Markup]


def explore(config: Config) -> Path:
    """Show the data set and write explore.html and explore.json; the folder they are in.

    Raises `UsageError` with all that is wrong.
    """
    silence_libraries()
    if not all(Path(name).exists() for name in (config.policy.model, config.data.path)) and not hub_is_reachable():
        go_offline()
    problems: list[str] = []
    with Display(Console(stderr=True)).phase("reading the data"):
        tokenizer: PreTrainedTokenizerBase | None = collect(problems, check_tokenizer, config)
        data = collect(problems, read_splits, config.data, getattr(config.algorithm, "group_by", None))
        collect(problems, check_out, config)
        if problems:
            raise UsageError(*problems)
        splits, skipped = data
        figures = {"path": config.data.path, "tokenizer": config.policy.model, "bounds": _bounds(config.data),
                   "skipped": skipped, **explore_splits(splits, config.data, tokenizer)}  # fmt: skip
    folder = Path(config.out) if config.out else new_folder()
    folder.mkdir(parents=True, exist_ok=True)
    title, shown = f"Data set {config.data.path}", sections(figures)
    replace_file(folder / "explore.html", page(title, shown, figures).encode())
    replace_file(folder / "explore.json", json.dumps(figures, indent=2, allow_nan=False).encode())
    _print(title, shown, figures)
    print(folder)
    return folder


def read_splits(config: schema.Data, group_by: GroupBy | None) -> tuple[dict[str, Split], dict[str, str]]:
    """Every split that is there, those that a run uses first; and why others, which no run uses, cannot be read.

    Raises `UsageError`, also where there is no split at all.
    """
    found, splits, skipped, problems = split_names(config), {}, {}, []
    used = [name for name in (config.train_split, config.validation_split, config.eval_split) if name in found]
    for name in dict.fromkeys([*used, *found]):
        try:
            splits[name] = _read_split(config, name, group_by)
        except UsageError as error:
            skipped[name] = str(error)
            problems += error.problems if name in used else ()
    if problems or not splits:
        none = f"data.path: {config.path} has no split: no csv or jsonl file named after it, as train.csv"
        raise UsageError(*dict.fromkeys(problems or skipped.values() or [none]))
    return splits, skipped


def _read_split(config: schema.Data, name: str, group_by: GroupBy | None) -> Split:
    table = read_table(config, name, group_by)
    topic = group_by.column if isinstance(group_by, ByColumn) else config.topic_column
    topics = [str(cell) for cell in table[topic]] if topic in table.column_names else None
    return Split(list(table[config.prompt_column]), list(table[config.reference_column]), topics)


def _bounds(config: schema.Data) -> dict[str, int]:
    return {bound: getattr(config, bound) for bounds in BOUNDS.values() for bound in bounds}


def sections(figures: dict[str, Any]) -> list[Section]:
    """Everything but the samples, in the order in which it is shown."""
    return [_counts(figures), _filter(figures), _lengths(figures), *_topics(figures), *_duplicates(figures)]


def _counts(figures: dict[str, Any]) -> Section:
    rows = []
    for name, split in figures["splits"].items():
        references = ", ".join(f"{n} ({times} dialogues)" for n, times in split["references"].items())
        rows.append((name, split["rows"], split["dialogues"], split["rows_without_summary"], references))
    head = ("split", "rows", "dialogues", "rows without summary", "references per dialogue")
    note = "Rows with the same dialogue are one dialogue with several references."
    note = " ".join([note, *(f"Left out: {name}, {reason}." for name, reason in figures["skipped"].items())])
    return Section("Splits", note, head, rows, [])


def _filter(figures: dict[str, Any]) -> Section:
    head = ("split", *(fate.replace("_", " ") for fate in FATES), "prompts kept")
    rows = [(name, *(split["filter"][fate] for fate in FATES), split["prompts"])
            for name, split in figures["splits"].items()]  # fmt: skip
    bounds = ", ".join(f"data.{bound} {value}" for bound, value in figures["bounds"].items())
    note = f"Rows by what the filter makes of them ({bounds}); empty: no text; prompts: kept dialogues, each once."
    return Section("What the filter keeps", note, head, rows, [])


def _lengths(figures: dict[str, Any]) -> Section:
    rows = [
        (MEASURES[measure], name, *_statistics(split["lengths"][measure]))
        for measure in MEASURES
        for name, split in figures["splits"].items()
    ]
    note = f"Tokens of {figures['tokenizer']}, its special tokens included; a prompt is the template with the dialogue."
    plots = [_histogram(measure, figures) for measure in MEASURES]
    return Section("Lengths", note, ("of", "split", *STATISTICS), rows, plots)


def _statistics(lengths: dict[str, float] | None) -> list[float | str]:
    return [round(lengths[name], 1) if lengths else "none" for name in STATISTICS]


def _histogram(measure: str, figures: dict[str, Any]) -> Markup:
    figure, histogram = go.Figure(), figures["histograms"][measure]
    edges = histogram["edges"]
    for name, counts in histogram["counts"].items():
        shares = [100 * count / max(1, sum(counts)) for count in counts]
        figure.add_scatter(x=edges, y=[*shares, shares[-1]], name=_label(name), line_shape="hv", fill="tozeroy",
                           mode="lines", line_width=1.5)  # fmt: skip
    for bound in BOUNDS.get(measure, ()):
        if edges[0] < (value := figures["bounds"][bound]) < edges[-1]:  # elsewhere it cuts nothing
            figure.add_vline(value, line_dash="dot", annotation_text=bound)
    figure.update_yaxes(ticksuffix=" %", rangemode="tozero")
    return plot(figure, MEASURES[measure])


def _topics(figures: dict[str, Any]) -> list[Section]:
    topics = figures["topics"]
    if not topics:
        return []
    names, others = list(topics["others"]["rows"]), topics["others"]
    rows = [(entry["topic"], *entry["rows"].values()) for entry in topics["top"]]
    if others["topics"]:
        rows.append((f"({others['topics']} others)", *others["rows"].values()))
    note = f"Rows of each split by topic; {topics['distinct']} topics in all."
    return [Section("Topics", note, ("topic", *names), rows, [_topic_plot(topics["top"], names)])]


def _topic_plot(top: list[dict[str, Any]], names: list[str]) -> Markup:
    """Bars at numbered places: two topics whose labels are cut alike stay two."""
    places, labels = list(range(len(top))), [_label(entry["topic"]) for entry in top]
    figure = go.Figure([go.Bar(x=places, y=[entry["rows"][name] for entry in top], name=_label(name))
                        for name in names])  # fmt: skip
    figure.update_xaxes(tickvals=places, ticktext=labels, tickangle=-40, automargin=True)
    figure.update_layout(barmode="group", showlegend=True)
    return plot(figure, "rows of the most frequent topics")


def _duplicates(figures: dict[str, Any]) -> list[Section]:
    rows = [(name, split["repeated_rows"], split["near_duplicates"]) for name, split in figures["splits"].items()]
    note = "Rows that repeat both dialogue and summary; dialogues that differ from another only in case or whitespace."
    within = Section("Duplicates within a split", note, ("split", "repeated rows", "nearly the same"), rows, [])
    rows = [(" and ".join(s["splits"]), s["exact"], s["near"]) for s in figures["shared"]]
    note = "Dialogues that are in both, to the letter or but for case and whitespace. What is held out should be new."
    between = Section("Duplicates between splits", note, ("splits", "same", "nearly the same"), rows, [])
    return [within, between] if rows else [within]


def page(title: str, shown: list[Section], figures: dict[str, Any]) -> str:
    """The page: one file with everything inside."""
    return render("explore.html", title=title, plots=True, sections=shown, samples=figures["samples"],
                  shared=figures["shared"])  # fmt: skip


def _print(title: str, shown: list[Section], figures: dict[str, Any]) -> None:
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(_plain(title), style="bold")
    for section in shown:
        console.print(f"\n{section.title}", style="bold")
        console.print(_rich_table(section))
        console.print(_plain(section.note), style="dim")
    for pair in figures["shared"]:
        for example in pair["examples"]:
            console.print(_plain(f"\nin {' and '.join(pair['splits'])}: {_cut(example, EXCERPT // 4)}"))
    for sample in figures["samples"]["dialogues"]:
        console.print()
        console.rule(_plain(_cut(", ".join([figures["samples"]["split"], *sample["topics"]]), LABEL * 2)))
        console.print(_plain(_cut(sample["dialogue"], EXCERPT)))
        for reference in sample["references"]:
            console.print(_plain(f"=> {_cut(reference, EXCERPT)}"), style="italic")


def _rich_table(section: Section) -> Table:
    table = Table()
    for place, name in enumerate(section.head):
        numbers = isinstance(section.rows[0][place], int | float)
        table.add_column(_plain(name), justify="right" if numbers else "left")
    for row in section.rows:
        table.add_row(*(_plain(_cut(str(cell), LABEL * 2)) for cell in row))
    return table


def _label(text: str) -> str:
    """A text in a plot, where plotly takes some tags for markup."""
    return html.escape(_cut(text, LABEL), quote=False)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _plain(text: str) -> str:
    """A text that cannot command the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
