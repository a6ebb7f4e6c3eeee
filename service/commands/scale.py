"""`ray_job.py scale`: change the number of workers of a running run."""

import argparse
import time
from pathlib import Path

from cluster.layout import ROLES
from configs.errors import RunError, UsageError
from configs.installation import COMMAND
from service.run.lock import is_running
from service.run.supervisor import is_requested, read_sizes, request_workers

PATIENCE = 30.0
"""Seconds to wait for the run to read the request."""


def scale(arguments: list[str]) -> None:
    """Request new numbers of workers from the run, and print its sizes.

    Raises `UsageError` if the folder has no running run, `RunError` if the run does not react.
    """
    folder, numbers = _parse(arguments)
    if not is_running(folder):
        raise UsageError(f"{folder}: no run is running in this folder, as seen from this machine")
    request_workers(folder, numbers)
    until = time.monotonic() + PATIENCE
    while is_requested(folder, numbers):
        if time.monotonic() > until:
            raise RunError(f"the run did not read the request within {PATIENCE:g} s; it will at its next opportunity")
        time.sleep(0.1)
    for role, size in read_sizes(folder).items():
        print(f"{role}: {size['wanted']} wanted, {size['ready']} ready, {size['loading']} loading, "
              f"{size['pending']} pending")  # fmt: skip


def _parse(arguments: list[str]) -> tuple[Path, dict[str, int]]:
    parser = argparse.ArgumentParser(f"{COMMAND} scale", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    for role in ROLES:
        parser.add_argument(f"--{role}", type=int, help=f"new number of {role} workers")
    given = vars(parser.parse_args(arguments))
    folder = given.pop("run")
    numbers = {role: number for role, number in given.items() if number is not None}
    wrong = [f"--{role}: {number} workers; at least 1 is required" for role, number in numbers.items() if number < 1]
    if wrong or not numbers:
        raise UsageError(*(wrong or ["no role given; pass a role and its number of workers, such as --reward 4"]))
    return folder, numbers
