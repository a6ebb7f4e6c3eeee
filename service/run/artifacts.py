"""What a run leaves that people take away. Files are found by name in a table, never by a path that a client gave."""

import io
import zipfile
from dataclasses import dataclass
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
"""Where each is in a run's folder, and what."""
ADAPTER = "adapter.zip"
IN_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Artifact:
    """Something that can be taken away now."""

    name: str
    media_type: str
    path: Path


def artifacts(folder: Path) -> dict[str, Artifact]:
    """Those that are there, by name."""
    found = {
        name: Artifact(name, kind, folder / path) for name, (path, kind) in FILES.items() if (folder / path).is_file()
    }
    if has_adapter(folder):
        found[ADAPTER] = Artifact(ADAPTER, ZIP, folder / "adapter")
    return found


def has_adapter(folder: Path) -> bool:
    """Whether the run has come to its adapter."""
    return all((folder / "adapter" / name).is_file() for name in IN_ADAPTER)


def zipped(adapter: Path) -> bytes:
    """The adapter's files as one, which unpacks to a directory that peft loads."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as packed:
        for name in IN_ADAPTER:
            packed.write(adapter / name, f"adapter/{name}")
    return memory.getvalue()
