"""The commands and names that README.md and docs/*.md hold."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PROGRAMS = {"make", "python", "ray", "curl", "pip", "pytest", "seqrlhf", "source", "export", "git", "docker",
            "openapi-python-client"}  # fmt: skip


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and contents of each fenced block; an indented one has the language `indented`."""
    fenced = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    for match in fenced.finditer(text):
        yield match[2], re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
    for match in re.finditer(r"(?:^    .*\n)+", fenced.sub("", text), re.MULTILINE):
        yield "indented", re.sub(r"^    ", "", match[0], flags=re.MULTILINE)


def commands(text: str) -> Iterator[str]:
    """Each command of a page on one line, without comments."""
    for language, block in blocks(text):
        if language not in ("", "bash", "indented"):
            continue
        lines = iter(re.sub(r"\s{2,}# .*$", "", block, flags=re.MULTILINE).splitlines())
        for line in lines:
            words = re.sub(r"^(\w+=\S+ )*", "", line.strip()).split()
            if not words or words[0] not in PROGRAMS:
                continue
            while line.rstrip().endswith("\\") or line.count("'") % 2:
                line = f"{line.rstrip().removesuffix(chr(92))} {next(lines).strip()}"
            yield " ".join(line.split())


def documented() -> list[str]:
    """The commands of all pages, in their order, each once."""
    return list(dict.fromkeys(command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))))


def collected() -> list[str]:
    """What docs/faults.md gives pytest to rerun its rows."""
    text = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    return re.findall(r"`(-[km] [^`]*tests/[^`]*|-m \w+ tests/[^`]*)` \|$", text, re.MULTILINE)


def metric_names(section: str) -> list[str]:
    """Names in the first column of a table of docs/metrics.md."""
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    part = text.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
