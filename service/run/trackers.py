"""Experiment trackers besides TensorBoard, through accelerate's common interface."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configs.errors import UsageError
from configs.load import flat_settings
from configs.schema import Config

PROJECT = "seqrlhf"


class Trackers:
    """The trackers named in the config. One that fails later is reported and dropped; the run continues."""

    def __init__(self, config: Config, folder: Path, say: Callable[[str], None]) -> None:
        """Raises `UsageError` if a tracker cannot be started, for example without a login."""
        self.say, self.open = say, {}
        if not config.trackers:
            return
        from accelerate import PartialState  # here, because few runs need it and it takes time
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=True)  # accelerate's loggers need it

        name = folder.name
        arguments: Mapping[str, dict[str, Any]] = {
            "wandb": {"run_name": PROJECT, "name": name, "id": name, "resume": "allow", "dir": str(folder)},
            "mlflow": {"experiment_name": PROJECT, "run_name": name},
            "trackio": {"run_name": PROJECT, "name": name, "resume": "allow"},
        }
        for kind in config.trackers:
            self.open[kind] = LOGGER_TYPE_TO_CLASS[kind](**arguments[kind])
            try:
                self.open[kind].start()
                flat = {key: str(value) for key, value in flat_settings(config.model_dump(mode="json"))}
                self.open[kind].store_init_configuration(flat)
            except Exception as error:  # every tracker has its own exceptions
                raise UsageError(f"trackers: {kind} could not be started: {error}") from error

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send a step's metrics."""
        self._each(lambda tracker: tracker.log(dict(metrics), step=step))

    def close(self) -> None:
        """Finish the run in each tracker."""
        self._each(lambda tracker: tracker.finish())

    def _each(self, act: Callable[[Any], None]) -> None:
        for kind, tracker in list(self.open.items()):
            try:
                act(tracker)
            except Exception as error:
                self.say(f"trackers: {kind} failed and is no longer used: {error}")
                del self.open[kind]
