"""What trainers of transformers share: options, a log of a line per loss or evaluation, and complete checkpoints."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from learner.atomic_files import replace_file

COMPLETE = "complete"
"""File that marks a completely written checkpoint."""


def trainer_options(folder: Path, total: int, evals: int, lines: int) -> dict[str, Any]:
    """Options of a trainer of `total` updates: a checkpoint at each of its evaluations, and about so many log lines."""
    every = max(1, math.ceil(total / evals))
    return {
        "output_dir": str(folder / "checkpoints"),
        "max_steps": total,
        "lr_scheduler_type": "linear",
        "eval_strategy": "steps",
        "eval_on_start": True,
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "logging_steps": max(1, total // lines),
        "report_to": "none",
        "disable_tqdm": True,
    }


class TrainerLog(TrainerCallback):
    """Writes the trainer's log, one line per entry, and marks complete checkpoints."""

    def __init__(self, file: Path, first: Mapping[str, Any], kinds: Sequence[str]) -> None:
        """`first` is the content of the first line; entries with one of the names `kinds` are written."""
        self.file, self.first, self.kinds = file, first, kinds

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the file, or when resuming keep its lines up to the checkpoint's step."""
        if state.is_world_process_zero:
            kept = read_log(self.file) if state.global_step else []
            kept = [line for line in kept if line["step"] <= state.global_step]
            kept = kept or [{"step": 0, "of": state.max_steps, **self.first}]
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Append a line with the loss or with the metrics of an evaluation."""
        if state.is_world_process_zero and any(kind in logs for kind in self.kinds):
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, "of": state.max_steps, **logs}) + "\n")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as complete: the trainer has written all of it."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def read_log(file: Path) -> list[dict[str, Any]]:
    """The complete lines of a log; none if there is no file."""
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def newest(folder: Path) -> str | None:
    """The newest complete checkpoint in the folder's `checkpoints/`; incomplete ones are deleted."""
    written = sorted((folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    complete = [path for path in written if (path / COMPLETE).exists()]
    for path in set(written) - set(complete):
        shutil.rmtree(path, ignore_errors=True)
    return str(complete[-1]) if complete else None
