"""What annotators say of policies: in words, as tables for the page and the terminal, and as plots."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from service.report.html import Plot, plot
from workers.preferences.estimates import Estimate
from workers.preferences.statistics import Statistics
from workers.preferences.win_rates import Comparison

NONE = "-"
LABEL = 40
"""Characters of a name in a plot."""


class Section(NamedTuple):
    """A table with a note."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def verdict(statistics: Statistics) -> list[str]:
    """The human half of a verdict in sentences: who is preferred, and how far the answers can be relied on."""
    who = "simulated annotators, who are no people," if statistics.simulated else "people"
    lines = [_preference(comparison, who) for comparison in statistics.comparisons]
    if not lines:
        lines.append("no answer compares two policies")
    elif statistics.compared == "training":
        lines.append("these are training questions, which were not drawn at random: no fair comparison")
    if statistics.alpha:
        lines.append(f"agreement: Krippendorff's alpha {_number(statistics.alpha)}{_others(statistics)}")
    else:
        lines.append("agreement: not known, for it takes two annotators and different answers to the same questions")
    first = statistics.first_position
    if first and not first.low <= 0.5 <= first.high:
        lines.append(f"the place mattered: {_percent(first)} of the decided answers are for what was shown first")
    return lines


def _preference(found: Comparison, who: str) -> str:
    numbers = f"win rate of {found.policy} {_percent(found.win_rate)} on {found.win_rate.count} questions"
    controlled = f"at equal lengths {_percent(found.length_controlled)}"
    if found.preferred:
        other = found.against if found.preferred == found.policy else found.policy
        return f"{who} prefer {found.preferred} to {other}: {numbers}; {controlled}"
    more = f"; about {found.more_questions} more questions would show 60:40" if found.more_questions else ""
    return f"no preference between {found.policy} and {found.against} shows: {numbers}; {controlled}{more}"


def _others(statistics: Statistics) -> str:
    if statistics.leave_one_out is None:
        return ""
    return f"; one annotator agrees with the majority of the others in {statistics.leave_one_out:.0%} of answers"


def sections(statistics: Statistics) -> list[Section]:
    """The tables."""
    found = [_comparisons(statistics), _strengths(statistics), _annotators(statistics)]
    return [section for section in found if section.rows]


def _comparisons(statistics: Statistics) -> Section:
    found = statistics.comparisons
    criteria = list(dict.fromkeys(name for comparison in found for name in comparison.criteria))
    rows = [
        ("questions", *(str(c.win_rate.count) for c in found)),
        ("won, tied, lost", *(", ".join(f"{number:.4g}" for number in (c.wins, c.ties, c.losses)) for c in found)),
        ("win rate", *(_percent(c.win_rate) for c in found)),
        ("win rate at equal lengths", *(_percent(c.length_controlled) for c in found)),
        *((f"win rate, {name}", *(_percent(c.criteria.get(name)) for c in found)) for name in criteria),
        ("characters longer", *(f"{c.longer:+.0f}" for c in found)),
        ("questions to ask for 60:40", *(str(c.more_questions) for c in found)),
    ]
    note = (
        f"First answers to {statistics.compared} questions, which weigh the same; a tie is half a win; 95% intervals. "
        f"The last row: further questions that would show a preference of 60:40 with 80% power."
    )
    return Section("Which policy is preferred", note, ("", *map(_title, found)), rows if found else [])


def _strengths(statistics: Statistics) -> Section:
    first, *others = statistics.strengths or ("",)
    rows = [(name, _percent(statistics.strengths[name])) for name in others]
    note = "Bradley-Terry: from all comparisons together, the probability of winning against the first policy."
    return Section("Strengths", note, ("policy", f"wins against {first}"), rows if len(rows) > 1 else [])


def _annotators(statistics: Statistics) -> Section:
    head = ("annotator", "answers", "skips", "as others", "as before", "known", "first", "seconds")
    rows = [
        (
            person.name,
            str(person.answers),
            str(person.skipped),
            *map(_share, (person.leave_one_out, person.self_agreement, person.qualified, person.first_position)),
            _seconds(person.seconds),
        )
        for person in statistics.annotators
    ]
    mean = NONE if statistics.leave_one_out is None else f"{statistics.leave_one_out:.0%}"
    whole = (mean, _share(statistics.self_agreement), NONE, _share(statistics.first_position))
    rows.append(("all", str(statistics.answers), str(statistics.skipped), *whole, _seconds(statistics.seconds)))
    note = (
        "Shares of answers that are as the majority of the others', as one's own first answer to a repeat, right where "
        "the answer is known, and for what was shown first, with the numbers of answers; median seconds."
    )
    return Section("Annotators", note, head, rows)


def print_statistics(statistics: Statistics) -> None:
    """Print the tables, and last what they say in words."""
    console = Console(markup=False, emoji=False, highlight=False)
    for section in sections(statistics):
        table = Table(
            title=section.title, caption=section.note, title_justify="left", caption_justify="left", box=SIMPLE
        )
        for place, name in enumerate(section.head):
            table.add_column(name, justify="right" if place else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
        console.print(section.note, style="dim")
    for line in verdict(statistics):
        print(line)


def plots(statistics: Statistics) -> list[Plot]:
    """Win rates, and the annotators' agreement with the others, each with its interval."""
    rates = {}
    for found in statistics.comparisons:
        parts = {"": found.win_rate, ", at equal lengths": found.length_controlled}
        parts |= {f", {name}": rate for name, rate in found.criteria.items()}
        rates |= {_title(found) + ending: rate for ending, rate in parts.items()}
    agreement = {person.name: person.leave_one_out for person in statistics.annotators if person.leave_one_out}
    shown = {"Win rates, with 95% intervals": rates, "Agreement with the other annotators": agreement}
    return [_intervals(numbers, title) for title, numbers in shown.items() if numbers]


def _intervals(numbers: Mapping[str, Estimate], title: str) -> Plot:
    names = [escape(name if len(name) <= LABEL else f"{name[: LABEL - 1]}…") for name in numbers]
    found = list(numbers.values())
    figure = go.Figure(
        go.Scatter(
            x=[estimate.value for estimate in found],
            y=list(range(len(found))),  # names may be equal once they are cut
            error_x={
                "array": [estimate.high - estimate.value for estimate in found],
                "arrayminus": [estimate.value - estimate.low for estimate in found],
            },
            mode="markers",
            name=title,
        )
    )
    figure.add_vline(0.5, line_dash="dot")
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    figure.update_yaxes(tickvals=list(range(len(found))), ticktext=names, autorange="reversed")
    return plot(figure, title)


def _title(found: Comparison) -> str:
    return f"{found.policy} against {found.against}"


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return NONE
    return f"{estimate.value:.0%} [{100 * estimate.low:.0f},\N{NO-BREAK SPACE}{100 * estimate.high:.0f}]"


def _share(estimate: Estimate | None) -> str:
    return NONE if estimate is None else f"{estimate.value:.0%} ({estimate.count})"


def _seconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:.1f}"


def _number(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def people(statistics: Statistics) -> dict[str, Any]:
    """All that the page shows of them."""
    return {
        "title": "Simulated annotators" if statistics.simulated else "What people say",
        "verdict": verdict(statistics),
        "sections": sections(statistics),
        "plots": plots(statistics),
    }
