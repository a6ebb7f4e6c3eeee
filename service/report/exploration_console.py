"""The overview of a data set on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from service.report.exploration import Section, shorten

CELL, EXCERPT, EXAMPLE = 60, 600, 150
"""Characters of a table cell, of a sample's dialogue or summary, and of a dialogue that two splits share."""


def print_exploration(title: str, shown: list[Section], numbers: dict[str, Any]) -> None:
    """Print all sections and samples."""
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(_plain(title), style="bold")
    for section in shown:
        console.print(f"\n{section.title}", style="bold")
        console.print(_rich_table(section))
        console.print(_plain(section.note), style="dim")
    for pair in numbers["shared"]:
        for example in pair["examples"]:
            console.print(_plain(f"\nin {' and '.join(pair['splits'])}: {shorten(example, EXAMPLE)}"))
    for sample in numbers["samples"]["dialogues"]:
        console.print()
        console.rule(_plain(shorten(", ".join([numbers["samples"]["split"], *sample["topics"]]), CELL)))
        console.print(_plain(shorten(sample["dialogue"], EXCERPT)))
        for reference in sample["references"]:
            console.print(_plain(f"=> {shorten(reference, EXCERPT)}"), style="italic")


def _rich_table(section: Section) -> Table:
    table = Table()
    for place, name in enumerate(section.head):
        numbers = isinstance(section.rows[0][place], int | float)
        table.add_column(_plain(name), justify="right" if numbers else "left")
    for row in section.rows:
        table.add_row(*(_plain(shorten(str(cell), CELL)) for cell in row))
    return table


def _plain(text: str) -> str:
    """The text without control characters, which could manipulate the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
