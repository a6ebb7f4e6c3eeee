"""Files of a run that users download. They are found by name in a table, never by a path from a client."""

import io
import json
import zipfile
from dataclasses import dataclass
from os.path import isfile  # unlike Path.is_file, False where a folder may not be entered
from pathlib import Path

LINES, ZIP = "application/x-ndjson", "application/zip"
FILES = {
    "config.yaml": ("config.yaml", "application/yaml"),
    "report.html": ("report.html", "text/html"),
    "report.json": ("report.json", "application/json"),
    "steps.jsonl": ("steps.jsonl", LINES),
    "summaries-before.jsonl": ("evaluation/before.jsonl", LINES),
    "summaries-after.jsonl": ("evaluation/after.jsonl", LINES),
}
"""Name -> path in the run folder, and media type."""
ADAPTER = "adapter.zip"
IN_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Artifact:
    """A file that is ready for download."""

    name: str
    media_type: str
    path: Path


def artifacts(folder: Path) -> dict[str, Artifact]:
    """The run's existing artifacts, by name."""
    found = {name: Artifact(name, kind, folder / path) for name, (path, kind) in FILES.items() if isfile(folder / path)}
    if has_adapter(folder):
        found[ADAPTER] = Artifact(ADAPTER, ZIP, folder / "adapter")
    return found


def has_adapter(folder: Path) -> bool:
    """True once the run has written its adapter."""
    return all(isfile(folder / "adapter" / name) for name in IN_ADAPTER)


def zipped(adapter: Path) -> bytes:
    """The adapter as a zip archive, which unpacks to a directory that peft loads."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in IN_ADAPTER:
            archive.write(adapter / name, f"adapter/{name}")
    return memory.getvalue()


def reported_steps(folder: Path) -> int | None:
    """Number of steps in the run's report, which a run writes last; None while there is no report."""
    try:
        steps = json.loads((folder / "report.json").read_bytes())["steps"]
        return steps if (folder / "report.html").is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
