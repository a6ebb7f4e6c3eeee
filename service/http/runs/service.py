"""Runs that are asked for over HTTP: each a Ray job, followed until it ends, whatever becomes of the service."""

import logging
import re
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cluster.jobs import Jobs
from configs.errors import RunError
from configs.schema import Config
from learner.atomic_files import replace_file
from service.http.runs.presets import Presets
from service.http.runs.store import QUEUED, Record, Registry
from service.run.folder import is_at_work, reported_steps
from service.run.supervisor import ask

FOLLOW = 1.0
"""Seconds between two looks at what Ray says of the runs."""
log = logging.getLogger("seqrlhf.service")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class TooMany(Exception):
    """As many runs as there may be are waiting or at work."""


class Conflict(Exception):
    """Not to be done with the run as it is now."""


class Runs:
    """What can be done with runs. Calls wait for disk and cluster: not for an event loop's own thread."""

    def __init__(self, config: Config, presets: Presets, jobs: Jobs) -> None:
        self.root = Path(config.serve.folder).absolute()
        (self.root / "requests").mkdir(parents=True, exist_ok=True)
        self.most, self.presets, self.jobs = config.serve.limits.runs, presets, jobs
        self.registry = Registry(self.root / "service.db")
        self._closed, self._wake = False, threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-runs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow them no longer; they go on."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self.registry.close()

    def answers(self) -> tuple[bool, bool]:
        """Whether the record does, and whether the cluster does."""
        return _works(self.registry.unended), _works(lambda: self.jobs.state("none"))

    def folder(self, id: str) -> Path:
        """Where a run of the record writes."""
        return self.root / id

    def log(self, record: Record) -> str:
        """The last lines that the run printed."""
        printed = self.jobs.log(record.job).encode("utf-8", "replace").decode()  # it may be no text
        return ANSI.sub("", printed)

    def submit(self, body: Mapping[str, Any], owner: str, token: str | None = None) -> tuple[Record, bool]:
        """The run that is asked for, and whether it is new: with a token that was used it is the one of then.

        Raises `UsageError` where the body is wrong, `TooMany`, `Conflict` where the token was used for another body.
        """
        base, config = self.presets.admit(body)
        id = secrets.token_hex(6)
        new = Record(id, time.time(), owner, token, base, config.steps, config.policy.model, dict(body))
        values = config.model_dump(mode="json", exclude={"out", "serve"})
        # On the disk before the record is: a record without it could not be begun after a crash.
        replace_file(self._request(id), yaml.safe_dump(values, sort_keys=False).encode())
        try:
            added = self.registry.add(new, self.most)
        except KeyError:
            self._request(id).unlink()
            return self._same(owner, token, body), False
        if not added:
            self._request(id).unlink()
            raise TooMany(f"{self.most} runs are waiting or at work; stop one, or come again")
        self._wake.set()
        return self.registry.get(id), True

    def _same(self, owner: str, token: str, body: Mapping[str, Any]) -> Record:
        record = self.registry.by_token(owner, token)
        if record.request != dict(body):
            raise Conflict(f"this Idempotency-Key was used for another request, which made run {record.id}")
        return record

    def stop(self, record: Record) -> Record:
        """Have a run end early; it can be resumed. Raises `Conflict` where it has ended."""
        if record.ended:
            raise Conflict(f"run {record.id} has ended already: {record.state}")
        if record.state == QUEUED and self.registry.change(record, "stopped"):
            with suppress(RunError):  # which has it only where a service was killed while it handed it over
                self.jobs.stop(record.job)
        else:
            self.jobs.stop(record.job)
        return self.registry.get(record.id)

    def resume(self, record: Record) -> Record:
        """Go on with a run that ended early. Raises `Conflict` where there is nothing to go on with."""
        if not record.ended or record.state == "succeeded":
            raise Conflict(f"run {record.id} is {record.state}: there is nothing to be resumed")
        if not self.registry.change(record, QUEUED, attempt=record.attempt + 1):
            raise Conflict(f"run {record.id} was resumed by somebody else")
        self._wake.set()
        return self.registry.get(record.id)

    def scale(self, record: Record, numbers: Mapping[str, int]) -> None:
        """Ask a run at work for other numbers of workers. Raises `Conflict` where it is not at work."""
        folder = self.folder(record.id)
        if not is_at_work(folder):
            raise Conflict(f"run {record.id} is not at work")
        ask(folder, numbers)

    def _request(self, id: str) -> Path:
        return self.root / "requests" / f"{id}.yaml"

    def _follow(self) -> None:
        """Hand queued runs to Ray, and keep the record as Ray has it."""
        while not self._closed:
            self._wake.clear()
            try:
                for record in self.registry.unended():
                    self._try_to_look_at(record)
            except sqlite3.Error:  # such as a full disk
                log.exception("the record of runs cannot be read")
            self._wake.wait(FOLLOW)

    def _try_to_look_at(self, record: Record) -> None:
        try:
            self._look_at(record)
        except RunError as error:  # the cluster does not answer, or not yet; it is asked again
            self.registry.change(record, record.state, str(error))
        except Exception:  # the others must be followed all the same
            log.exception("run %s cannot be followed", record.id)

    def _look_at(self, record: Record) -> None:
        state = self.jobs.state(record.job)
        if state is None and record.state == QUEUED:
            self._begin(record)
        elif state is None:
            self._lost(record)
        elif state == "failed":
            self.registry.change(record, state, self._reason(record))
        elif (state, "") != (record.state, record.message):  # what was wrong is so no longer
            self.registry.change(record, state)

    def _begin(self, record: Record) -> None:
        folder = self.folder(record.id)
        begun = ["--resume", str(folder)] if (folder / "config.yaml").exists() else []
        fresh = ["--config", str(self._request(record.id)), "--out", str(folder)]
        self.jobs.submit(record.job, [sys.executable, "ray_job.py", *(begun or fresh)])
        if not self.registry.change(record, "pending"):  # it was stopped meanwhile
            self.jobs.stop(record.job)

    def _lost(self, record: Record) -> None:
        """Its cluster is gone and another one is there."""
        folder = self.folder(record.id)
        if reported_steps(folder):
            self.registry.change(record, "succeeded")
        elif not is_at_work(folder):
            self.registry.change(record, "interrupted", "its cluster went away; it can be resumed")

    def _reason(self, record: Record) -> str:
        """The last line of what the job printed that tells what was wrong."""
        lines = self.log(record).splitlines()
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return "; ".join(told) or (lines[-1] if lines else "the job ended without a word")


def _works(call: Callable[[], Any]) -> bool:
    try:
        call()
    except (sqlite3.Error, RunError):
        return False
    return True
