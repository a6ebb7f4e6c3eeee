"""The folder of a run: what was asked for, what happened in each step, and what came of it."""

import fcntl
import json
import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from cluster.driver import Start, StepReport
from cluster.plan import Plan
from cluster.pools.interface import LOCK
from configs.errors import RunError, UsageError
from configs.load import changes, read_yaml, settings, validate
from configs.schema import Config
from learner.atomic_files import replace_file
from learner.checkpoints import load_newest, save_checkpoint
from learner.types import TrainState
from service.run.progress import Display
from service.run.step_log import finite
from service.run.trackers import Trackers

MAX_FINGERPRINT_GAP = 0.1
"""Difference of log-probabilities, in nats, that other hardware may make to the same weights."""


DECIDE_DATA = ("data.", "algorithm.type", "algorithm.group_by", "policy.model")
"""Beginnings of the settings on which a run's prompts depend."""
RLHF = "rlhf"
"""Where in a pipeline's folder its run is."""


class RunFolder:
    """Writes `config.yaml`, `steps.jsonl`, TensorBoard events and checkpoints as the run goes on."""

    def __init__(self, path: Path, config: Config, display: Display) -> None:
        self.path, self.config, self.display = path, config, display
        self._lock: Any = None

    def resume(self) -> TrainState | None:
        """Take over the folder of a run that ended early; its newest state, if it had come to any.

        Raises `UsageError` where another process is at work on it.
        """
        self._lock = take(self.path)
        state = load_newest(self.path / "checkpoints", self.display.say)
        version = state.version if state else 0
        done = read_steps(self.path)[:version]
        if len(done) < version:
            raise RunError(f"{self.path / 'steps.jsonl'} has {len(done)} whole steps, the checkpoint {version}")
        replace_file(self.path / "steps.jsonl", "".join(map(_line, done)).encode())
        self.display.say(f"resuming {self.path} after step {version} of {self.config.steps}")
        return state

    def is_complete(self) -> bool:
        """True once the run has reported on its last step, which is written last, by the settings that it has now."""
        own = validate(read_yaml(str(self.path / "config.yaml")))
        return reported_steps(self.path) == self.config.steps and not changes(own, self.config)

    def open(self, begin: Start, plan: Plan) -> None:
        """Make the folder, or go on with it where it was resumed, for a run that could be started."""
        if not self._lock:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = take(self.path)
        start = self.path / "start.json"
        facts = {"fingerprint": begin.model["fingerprint"], "data_sha256": plan.sha256(), **plan.hashes}
        facts["settings"] = deciding(self.config)
        if before := self._before():
            self._check_weights(before["fingerprint"], facts["fingerprint"])
            facts["fingerprint"] = before["fingerprint"]  # of where it began, not of where it was last
        replace_file(start, json.dumps(facts).encode())
        write_config(self.path, self.config)
        self._steps = (self.path / "steps.jsonl").open("a", encoding="utf-8")
        # Points of steps that are taken again are not shown twice.
        self._board = SummaryWriter(self.path / "tensorboard", purge_step=begin.state.version)
        self._trackers = Trackers(self.config, self.path, self.display.say)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        for file in ("_steps", "_board", "_trackers", "_lock"):
            if opened := getattr(self, file, None):
                opened.close()

    def add(self, report: StepReport) -> None:
        """One line and one point per metric for a finished step, and a checkpoint where one is due."""
        self._steps.write(_line({"step": report.step, **report.metrics}))
        self._steps.flush()
        for name, value in report.metrics.items():
            self._board.add_scalar(name, value, report.step)
        self._trackers.log(report.metrics, report.step)
        done = report.step + 1
        if done % self.config.checkpoints.every == 0 or done == self.config.steps:
            os.fsync(self._steps.fileno())  # a checkpoint is of no use without the lines up to it
            self._save(report.state)

    def _save(self, state: TrainState) -> None:
        try:
            save_checkpoint(self.path / "checkpoints", state, self.config.checkpoints.keep)
        except OSError as error:
            self.display.say(
                f"step {state.version} could not be saved ({error}); the run goes on, the checkpoint before is kept"
            )

    def _before(self) -> dict[str, Any]:
        """What told the models and data that the run began with; nothing where it had not begun."""
        file = self.path / "start.json"
        return json.loads(file.read_bytes()) if file.exists() else {}

    def _check_weights(self, before: list[float], now: list[float]) -> None:
        """Raises `RunError` for other weights than the run began with."""
        gap = max(abs(a - b) for a, b in zip(before, now, strict=True))
        if not gap <= MAX_FINGERPRINT_GAP:
            raise RunError(
                f"policy.model, policy.adapter: not the weights that {self.path} began with (log-probabilities differ "
                f"by {gap:.2g}); put them back, or start a new run"
            )

    def check_data(self, plan: Plan) -> None:
        """Raises `UsageError` for other dialogues than the run began with, if no setting asked for them."""
        before, now, data = self._before(), deciding(self.config), self.config.data
        for name, what, split in (
            ("train_sha256", "to learn from", data.train_split),
            ("held_out_sha256", "held out", data.eval_split),
        ):
            if before.get(name, plan.hashes[name]) == plan.hashes[name]:  # earlier versions did not write them
                continue
            asked = [key for key, value in now.items() if before["settings"].get(key) != value]
            if not asked:
                raise UsageError(
                    f"data.path: the dialogues {what} (split {split}) are not those that {self.path} began with; put "
                    f"them back, or start a new run"
                )
            self.display.say(f"the dialogues {what} are others from here on, as {', '.join(asked)} ask for it")


def deciding(config: Config) -> dict[str, Any]:
    """The settings that decide which dialogues there are and how they are grouped, by dotted names."""
    known = settings(config.model_dump(mode="json"))
    return {name: value for name, value in known if name.startswith(DECIDE_DATA)}


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """The steps of a run that were written whole, in order; NaN stands for a figure that is not known."""
    file = folder / "steps.jsonl"
    steps: list[dict[str, Any]] = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            steps.append({name: math.nan if v is None else v for name, v in json.loads(line).items()})
        except ValueError:
            break
        if steps[-1].get("step") != len(steps) - 1:
            return steps[:-1]
    return steps


def _line(step: Mapping[str, Any]) -> str:
    return json.dumps(finite(step), allow_nan=False) + "\n"


def reported_steps(folder: Path) -> int | None:
    """Steps of the run whose report is written, which is the last thing that a run does; None before that."""
    try:
        done = json.loads((folder / "report.json").read_bytes())["steps"]
        return done if (folder / "report.html").is_file() else None
    except (OSError, ValueError, KeyError):
        return None


def write_config(folder: Path, config: Config) -> None:
    """Write config.yaml, which `--config` takes."""
    text = yaml.safe_dump(config.model_dump(mode="json", exclude={"out"}), sort_keys=False)
    replace_file(folder / "config.yaml", text.encode())


def take(folder: Path) -> IO[str]:
    """Have a folder to oneself until the file that is returned is closed. Raises `UsageError` where another has it."""
    lock = (folder / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{folder}: another process is at work on this run") from error
    return lock


def is_at_work(path: Path) -> bool:
    """Whether a process has the run's folder."""
    if not (path / LOCK).is_file():
        return False
    with (path / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def new_folder() -> Path:
    """A folder named after the time, in runs/; for a Ray job at home, as Ray removes its working directory."""
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    root = Path.home() / "seqrlhf" if in_job else Path()
    return root / "runs" / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
