"""The log of supervised fine-tuning: sft.jsonl, a line per loss or evaluation, written while it trains."""

import json
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import TrainerCallback

from learner.atomic_files import replace_file

LOG = "sft.jsonl"
COMPLETE = "complete"
"""File that marks a completely written checkpoint."""


class SftLog(TrainerCallback):
    """Writes the trainer's log, one line per entry, and marks complete checkpoints."""

    def __init__(self, folder: Path, model: PeftModel) -> None:
        self.folder = folder
        self.trainable, self.total = model.get_nb_trainable_parameters()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the file, or when resuming keep its lines up to the checkpoint's step."""
        if state.is_world_process_zero:
            file = self.folder / LOG
            kept = read_log(self.folder) if state.global_step else []
            kept = [line for line in kept if line["step"] <= state.global_step]
            kept = kept or [{"step": 0, "of": state.max_steps, "trainable": self.trainable, "total": self.total}]
            replace_file(file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Append a line with the loss or with the metrics of an evaluation."""
        if state.is_world_process_zero and ("loss" in logs or "eval_rougeL" in logs):
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, "of": state.max_steps, **logs}) + "\n")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as complete: the trainer has written all of it."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of sft.jsonl."""
    file = folder / LOG
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
