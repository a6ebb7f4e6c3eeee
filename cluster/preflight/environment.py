"""Checks of the cluster, its workers and the installed trackers."""

import importlib.util
import os

from cluster.preflight.hub import answers
from configs.errors import UsageError
from configs.schema import Config


def check_cluster(config: Config) -> None:
    """Raises `UsageError` if nothing listens at the cluster's address, which Ray would retry for many minutes."""
    address = config.cluster.address or os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if config.cluster.backend == "ray" and port.isdigit() and not answers(host, int(port)):
        raise UsageError(
            f"cluster.address: nothing answers at {address}; give the address that `ray start --head` printed"
        )


def check_train_workers(config: Config, section: str) -> None:
    """Raises `UsageError` if a section's number of Ray Train workers does not suit its batch size or the backend."""
    settings, inline = getattr(config, section), config.cluster.backend == "inline"
    size, workers = settings.batch_size, settings.workers
    if size % workers:
        raise UsageError(f"{section}.batch_size ({size}) must be a multiple of {section}.workers ({workers})")
    if inline and workers > 1:
        raise UsageError(f"{section}.workers: {workers}, but cluster.backend inline has one process; leave one out")


def check_trackers(config: Config) -> None:
    """Raises `UsageError` naming each tracker whose package is not installed."""
    missing = [name for name in config.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            *[f"trackers: {name} is not installed; install it with: pip install {name}" for name in missing]
        )
