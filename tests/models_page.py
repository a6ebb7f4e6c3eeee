"""docs/models.md's tables, made of the list that the tests go through: `python -m tests.models_page` writes them."""

from pathlib import Path

from learner.family import REFUSED
from tests.families import FAMILIES

PAGE = Path(__file__).parent.parent / "docs/models.md"
MARKS = "<!-- {}: made by python -m tests.models_page -->"


def families() -> str:
    """A line per family that is tested."""
    rows = [
        f"| {family.name} | {family.examples} | {', '.join(f'`{name}`' for name in layers(family.targets))} "
        f"| {family.note} |"
        for family in FAMILIES
    ]
    return "\n".join(["| family | for instance | adapted layers | |", "|---|---|---|---|", *rows])


def refused() -> str:
    """A line per family that is refused."""
    return "\n".join(["| type | why |", "|---|---|", *(f"| `{kind}` | {why} |" for kind, why in REFUSED.items())])


def layers(targets: tuple[str, ...]) -> list[str]:
    """Names of layers without their place in the model."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in targets))


def with_tables(text: str) -> str:
    """The page with both tables as they should be."""
    for name, table in (("families", families()), ("refused", refused())):
        mark, end = MARKS.format(name), "<!-- end -->"
        before, _, rest = text.partition(mark)
        text = f"{before}{mark}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
