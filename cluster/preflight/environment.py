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


def check_sft_workers(config: Config) -> None:
    """Raises `UsageError` if the number of fine-tuning workers does not suit the batch size or the backend."""
    sft, inline = config.sft, config.cluster.backend == "inline"
    if sft.batch_size % sft.workers:
        raise UsageError(f"sft.batch_size ({sft.batch_size}) must be a multiple of sft.workers ({sft.workers})")
    if inline and sft.workers > 1:
        raise UsageError(f"sft.workers: {sft.workers}, but cluster.backend inline has one process; leave one out")


def check_trackers(config: Config) -> None:
    """Raises `UsageError` naming each tracker whose package is not installed."""
    missing = [name for name in config.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            *[f"trackers: {name} is not installed; install it with: pip install {name}" for name in missing]
        )
