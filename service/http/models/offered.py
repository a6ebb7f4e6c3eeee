"""The policies that runs offer: their adapters, with the prompts, lengths and sampling that they were trained with."""

from dataclasses import dataclass
from pathlib import Path

from cluster.run_files import CONFIG
from cluster.serving.deployment import summary_format
from configs.errors import UsageError
from configs.load import validate
from configs.presets import read_yaml
from learner.adapter import BASE
from workers.settings import SummaryFormat


@dataclass(frozen=True)
class Offered:
    """A policy that can be asked for summaries."""

    adapter: str  # a folder, a hub name or `base`; never from a client
    format: SummaryFormat | None  # None: the service's own


def offered_policy(name: str, run: Path, at_start: bool) -> Offered:
    """The policy that a run has trained, or the one that it started from.

    Raises `UsageError` if the run's folder does not say how it was trained, or a request cannot be answered that way.
    """
    try:
        config = validate(read_yaml(str(run / CONFIG)))
    except UsageError as error:
        raise UsageError(f"adapters: {name!r}: the run's {CONFIG} cannot be read: {error}") from error
    try:
        own = summary_format(config)
    except UsageError as error:
        raise UsageError(f"adapters: {name!r} cannot be asked: {error}") from error
    return Offered((config.policy.adapter or BASE) if at_start else str(run / "adapter"), own)
