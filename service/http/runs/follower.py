"""The thread that submits queued runs to Ray and keeps the records of runs up to date with their Ray jobs."""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Sequence

from cluster.jobs import Jobs
from cluster.run_files import CONFIG
from configs.errors import RunError
from service.http.runs.run_log import run_log
from service.http.runs.store import QUEUED, RunRecord, RunStore
from service.run.artifacts import reported_steps
from service.run.lock import is_running

INTERVAL = 1.0
"""Seconds between two queries for the states of Ray jobs."""
log = logging.getLogger("seqrlhf.service")


class RunFollower:
    """Follows all runs that have not ended. A run does not depend on it: it continues when the service ends."""

    def __init__(self, store: RunStore, jobs: Jobs, at_work: int) -> None:
        """At most `at_work` runs are submitted to Ray at a time."""
        self.store, self.jobs, self.paths, self.at_work = store, jobs, store.paths, at_work
        self._closed, self._wake = False, threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-runs", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the runs now."""
        self._wake.set()

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._closed:
            self._wake.clear()
            try:
                records = self.store.unended()
                turns = next_turns(records, self.at_work)
                for record in records:
                    self._try_update(record, record.id in turns)
            except Exception as error:  # a full disk, for example; tried again at the next interval
                log.error("cannot follow runs: %s", error)
            self._wake.wait(INTERVAL)

    def _try_update(self, record: RunRecord, may_start: bool) -> None:
        try:
            self._update(record, may_start)
        except RunError as error:  # the cluster does not respond (yet); retried at the next interval
            if str(error) != record.message:
                self.store.change(record, record.state, str(error))
        except Exception:  # one run must not keep the others from being followed
            log.exception("cannot follow run %s", record.id)

    def _update(self, record: RunRecord, may_start: bool) -> None:
        state = self.jobs.state(record.job)
        if state is None and record.state == QUEUED and may_start:
            self._start(record)
        elif state is None and record.state == QUEUED:
            waiting = f"waits for its turn: {self.at_work} runs are at work (serve.limits.runs_at_work)"
            if record.message != waiting:
                self.store.change(record, QUEUED, waiting)
        elif state is None:
            self._end_without_job(record)
        elif state == "failed":
            self.store.change(record, state, self._failure(record))
        elif (state, "") != (record.state, record.message):  # also clears the message of an error that has passed
            self.store.change(record, state)

    def _start(self, record: RunRecord) -> None:
        folder = self.paths.folder(record.id)
        if (folder / CONFIG).exists():
            arguments = ["--resume", str(folder)]
        else:
            arguments = ["--config", str(self.paths.request(record.id)), "--out", str(folder)]
        self.jobs.submit(record.job, [sys.executable, "ray_job.py", *arguments])
        if not self.store.change(record, "pending"):  # it was stopped meanwhile
            self.jobs.stop(record.job)

    def _end_without_job(self, record: RunRecord) -> None:
        """Settle the state of a run whose cluster was replaced by one that does not know its job."""
        folder = self.paths.folder(record.id)
        if reported_steps(folder):
            self.store.change(record, "succeeded")
        elif not is_running(folder):
            self.store.change(record, "interrupted", "its cluster is gone; the run can be resumed")

    def _failure(self, record: RunRecord) -> str:
        """Why a job failed: the errors that it printed, else its last line."""
        lines = run_log(self.jobs, record, self.paths).splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return "; ".join(errors) or (lines[-1] if lines else "the job ended without output")


def next_turns(records: Sequence[RunRecord], at_work: int) -> set[str]:
    """Ids of the queued runs that may start. Owners with the fewest runs at work come first, then the oldest run."""
    queued = [record for record in records if record.state == QUEUED]
    working = Counter(record.owner for record in records if record.state != QUEUED)
    chosen: set[str] = set()
    while queued and working.total() < at_work:
        record = min(queued, key=lambda record: (working[record.owner], record.created))
        queued.remove(record)
        working[record.owner] += 1
        chosen.add(record.id)
    return chosen
