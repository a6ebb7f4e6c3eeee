"""What annotators say of policies: in words, as tables for the page and the terminal, and as plots."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go
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
    found = [_comparisons(statistics), _criteria(statistics), _strengths(statistics), _annotators(statistics)]
    return [section for section in found if section.rows]


def _comparisons(statistics: Statistics) -> Section:
    head = ("comparison", "questions", "won, tied, lost", "win rate", "at equal lengths", "longer", "to ask for 60:40")
    rows = [
        (
            _title(found),
            str(found.win_rate.count),
            ", ".join(f"{number:.4g}" for number in (found.wins, found.ties, found.losses)),
            _percent(found.win_rate),
            _percent(found.length_controlled),
            f"{found.longer:+.0f}",
            str(found.more_questions),
        )
        for found in statistics.comparisons
    ]
    note = (
        f"First answers to {statistics.compared} questions, which weigh the same; a tie is half a win; 95% intervals. "
        f"Longer: mean difference in characters. To ask: further questions that would show 60:40 with 80% power."
    )
    return Section("Which policy is preferred", note, head, rows)


def _criteria(statistics: Statistics) -> Section:
    names = list(dict.fromkeys(name for found in statistics.comparisons for name in found.criteria))
    rows = [
        (_title(found), *(_percent(found.criteria.get(name)) for name in names)) for found in statistics.comparisons
    ]
    return Section("Win rates by criterion", "", ("comparison", *names), rows if names else [])


def _strengths(statistics: Statistics) -> Section:
    first, *others = statistics.strengths or ("",)
    rows = [(name, _percent(statistics.strengths[name])) for name in others]
    note = "Bradley-Terry: from all comparisons together, the probability of winning against the first policy."
    return Section("Strengths", note, ("policy", f"wins against {first}"), rows if len(rows) > 1 else [])


def _annotators(statistics: Statistics) -> Section:
    head = ("annotator", "answers", "skipped", "as others", "as before", "known", "first place", "seconds")
    rows = [
        (
            person.name,
            str(person.answers),
            str(person.skipped),
            *map(_percent, (person.leave_one_out, person.self_agreement, person.qualified, person.first_position)),
            _seconds(person.seconds),
        )
        for person in statistics.annotators
    ]
    mean = NONE if statistics.leave_one_out is None else f"{statistics.leave_one_out:.0%}"
    whole = (mean, _percent(statistics.self_agreement), NONE, _percent(statistics.first_position))
    rows.append(("all", str(statistics.answers), str(statistics.skipped), *whole, _seconds(statistics.seconds)))
    note = (
        "Shares of answers that are as the majority of the others', as one's own first answer to a repeat, right where "
        "the answer is known, and for what was shown in the first place; median seconds."
    )
    return Section("Annotators", note, head, rows)


def print_statistics(statistics: Statistics) -> None:
    """Print the tables, and last what they say in words."""
    console = Console(markup=False, emoji=False, highlight=False)
    for section in sections(statistics):
        table = Table(title=section.title, caption=section.note or None, title_justify="left", caption_justify="left")
        for place, name in enumerate(section.head):
            table.add_column(name, justify="right" if place else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
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
