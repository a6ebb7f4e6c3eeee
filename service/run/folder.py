"""Writing a run folder: config, steps, TensorBoard events and checkpoints."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from cluster.driver import Start, StepReport
from cluster.plan import Plan
from cluster.preferences.plan import PreferencePlan
from cluster.run_files import CONFIG
from configs.errors import RunError
from configs.load import changes, validate
from configs.presets import read_yaml
from configs.schema import Config
from learner.atomic_files import replace_file
from learner.checkpoints import load_newest, save_checkpoint
from learner.types import TrainState
from service.run.artifacts import reported_steps
from service.run.lock import lock_folder
from service.run.progress import Display
from service.run.start_record import record_start
from service.run.step_log import STEPS, read_steps, step_line
from service.run.trackers import Trackers

RLHF = "rlhf"
"""Folder of the training run inside a pipeline's folder."""


class RunFolder:
    """Writes `config.yaml`, `steps.jsonl`, TensorBoard events and checkpoints during a run."""

    def __init__(self, path: Path, config: Config, display: Display) -> None:
        self.path, self.config, self.display = path, config, display
        self._lock: Any = None

    def resume(self) -> TrainState | None:
        """Lock the folder of a run that ended early; returns its newest checkpoint, None if it has none.

        Steps after the checkpoint are dropped. Raises `UsageError` if another process is using the folder.
        """
        self._lock = lock_folder(self.path)
        state = load_newest(self.path / "checkpoints", self.display.say)
        version = state.version if state else 0
        done = read_steps(self.path)[:version]
        if len(done) < version:
            raise RunError(f"{self.path / STEPS} has {len(done)} complete steps, the checkpoint {version}")
        replace_file(self.path / STEPS, "".join(map(step_line, done)).encode())
        self.display.say(f"resuming {self.path} after step {version} of {self.config.steps}")
        return state

    def is_complete(self) -> bool:
        """True if the report of the last step exists and the settings have not changed since."""
        own = validate(read_yaml(str(self.path / CONFIG)))
        return reported_steps(self.path) == self.config.steps and not changes(own, self.config)

    def create(self) -> None:
        """Create and lock the folder of a new run, with its config: from then on the run can be resumed.

        Raises `UsageError` if another process is using the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.path)
        write_config(self.path, self.config)

    def open(self, initial: Start, plan: Plan | PreferencePlan) -> None:
        """Open the files of the locked folder, once the workers have started."""
        record_start(self.path, self.config, initial, plan)
        write_config(self.path, self.config)
        self._steps = (self.path / STEPS).open("a", encoding="utf-8")
        # purge_step hides the events of steps that are about to be repeated.
        self._board = SummaryWriter(self.path / "tensorboard", purge_step=initial.state.version)
        self._trackers = Trackers(self.config, self.path, self.display.say)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        for file in ("_steps", "_board", "_trackers", "_lock"):
            if opened := getattr(self, file, None):
                opened.close()

    def add(self, report: StepReport) -> None:
        """Write a finished step's metrics, and a checkpoint if one is due."""
        self._steps.write(step_line({"step": report.step, **report.metrics}))
        self._steps.flush()
        for name, value in report.metrics.items():
            self._board.add_scalar(name, value, report.step)
        self._trackers.log(report.metrics, report.step)
        done = report.step + 1
        if done % self.config.checkpoints.every == 0 or done == self.config.steps:
            os.fsync(self._steps.fileno())  # a checkpoint is useless without the lines before it
            self._save(report.state)

    def _save(self, state: TrainState) -> None:
        try:
            save_checkpoint(self.path / "checkpoints", state, self.config.checkpoints.keep)
        except OSError as error:
            self.display.say(
                f"step {state.version} could not be saved ({error}); the run continues with the previous checkpoint"
            )


def write_config(folder: Path, config: Config) -> None:
    """Write config.yaml, which `--config` accepts."""
    text = yaml.safe_dump(config.model_dump(mode="json", exclude={"out"}), sort_keys=False)
    replace_file(folder / CONFIG, text.encode())


def new_folder() -> Path:
    """A path under runs/ named after the current time; in a Ray job under the home directory.

    Ray removes a job's working directory when the job ends.
    """
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    root = Path.home() / "seqrlhf" if in_job else Path()
    return root / "runs" / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
