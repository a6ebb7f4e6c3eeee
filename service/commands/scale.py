"""`ray_job.py scale`: more or fewer workers for a run that is at work."""

import argparse
import time
from pathlib import Path

from cluster.layout import ROLES
from configs.errors import RunError, UsageError
from configs.installation import COMMAND
from service.run.folder import is_at_work
from service.run.supervisor import REQUEST, ask, sizes

PATIENCE = 30.0
"""Seconds that a run may take to see what it is asked for."""


def scale(arguments: list[str]) -> None:
    """Ask the run for other numbers of workers, and print what it has then.

    Raises `UsageError` where there is no run at work, `RunError` where it does not listen.
    """
    folder, numbers = _parse(arguments)
    if not is_at_work(folder):
        raise UsageError(f"{folder}: no run is at work there on this machine's file system")
    request = folder / REQUEST
    ask(folder, numbers)
    until = time.monotonic() + PATIENCE
    while request.exists():
        if time.monotonic() > until:
            raise RunError(f"the run did not take up the request within {PATIENCE:g} s; it will when it gets to it")
        time.sleep(0.1)
    for role, size in sizes(folder).items():
        print(f"{role}: {size['wanted']} wanted, {size['ready']} ready, {size['loading']} loading, "
              f"{size['pending']} pending")  # fmt: skip


def _parse(arguments: list[str]) -> tuple[Path, dict[str, int]]:
    parser = argparse.ArgumentParser(f"{COMMAND} scale", description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    for role in ROLES:
        parser.add_argument(f"--{role}", type=int, help=f"{role} workers from now on")
    given = vars(parser.parse_args(arguments))
    folder = given.pop("run")
    numbers = {role: number for role, number in given.items() if number is not None}
    wrong = [f"--{role}: {number} workers; there must be 1 at least" for role, number in numbers.items() if number < 1]
    if wrong or not numbers:
        raise UsageError(*(wrong or ["name a role and a number, such as --reward 4"]))
    return folder, numbers
