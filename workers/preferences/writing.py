"""Preferences as a file: jsonl, csv, or a folder of `datasets`."""

import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import datasets

from configs.errors import UsageError
from learner.atomic_files import replace_file, sync_folder
from learner.preferences.pairs import Preference
from workers.preferences.cells import guard

ALWAYS = ("prompt", "chosen", "rejected")
DEFAULTS = {field.name: field.default for field in fields(Preference) if field.name not in ALWAYS}


def check_target(target: Path, field: str) -> None:
    """Raises `UsageError` naming `field` if preferences cannot be written there."""
    if target.exists():
        raise UsageError(f"{field}: {target} exists; choose another name, or remove it first")
    if not target.parent.is_dir():
        raise UsageError(f"{field}: there is no folder {target.parent}")
    if target.suffix not in ("", ".jsonl", ".csv"):
        raise UsageError(f"{field}: {target}: its name must end in .jsonl or .csv, or have no ending for a folder")


def write_preferences(preferences: Sequence[Preference], target: Path) -> None:
    """Write them, whole or not at all. Optional columns that no row has a value in are left out. Raises `OSError`."""
    rows = [asdict(preference) for preference in preferences]
    used = [name for name, default in DEFAULTS.items() if any(row[name] != default for row in rows)]
    rows = [{name: row[name] for name in (*ALWAYS, *used)} for row in rows]
    if target.suffix == ".jsonl":
        replace_file(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    elif target.suffix == ".csv":
        replace_file(target, _csv(rows, [*ALWAYS, *used]).encode())
    else:
        _save(rows, target)


def _csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else guard(str(value))


def _save(rows: Sequence[dict[str, Any]], target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.writing")
    try:
        datasets.Dataset.from_list(list(rows)).save_to_disk(str(temporary))
        temporary.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
