"""The folder of a run: what was asked for, what happened in each step, and what came of it."""

import json
import os
from datetime import datetime
from pathlib import Path

import yaml
from torch.utils.tensorboard import SummaryWriter

from cluster.driver import StepReport
from configs.schema import Config


class RunFolder:
    """Writes `config.yaml`, `steps.jsonl` and TensorBoard events as the run goes on."""

    def __init__(self, config: Config) -> None:
        self.path = Path(config.out) if config.out else new_folder()
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.model_dump(mode="json", exclude={"out"}), sort_keys=False)
        (self.path / "config.yaml").write_text(text, encoding="utf-8")
        self._steps = (self.path / "steps.jsonl").open("w", encoding="utf-8")
        self._board = SummaryWriter(self.path / "tensorboard")

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()
        self._board.close()

    def add(self, report: StepReport) -> None:
        """One line and one point per metric for a finished step."""
        self._steps.write(json.dumps({"step": report.step, **report.metrics}) + "\n")
        self._steps.flush()
        for name, value in report.metrics.items():
            self._board.add_scalar(name, value, report.step)


def new_folder() -> Path:
    """A folder named after the time, in runs/; for a Ray job at home, as Ray removes its working directory."""
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    root = Path.home() / "seqrlhf" if in_job else Path()
    return root / "runs" / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
