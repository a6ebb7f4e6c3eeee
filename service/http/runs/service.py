"""Operations on runs: submit, stop, resume, scale, change the reward. Each run is a Ray job."""

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cluster.jobs import Jobs
from cluster.preflight.output import check_disk
from cluster.preflight.rewards import check_change
from cluster.run_files import CONFIG
from configs.errors import RunError, UsageError
from configs.load import validate
from configs.presets import read_yaml
from configs.reward_change import RewardChange, only_classifier
from configs.service import LimitsConfig
from learner.atomic_files import replace_file
from service.http.runs.follower import RunFollower
from service.http.runs.presets import Presets
from service.http.runs.run_log import run_log
from service.http.runs.store import QUEUED, RunRecord, RunStore
from service.run.lock import interrupt_holder, is_running
from service.run.reward_changes import read_versions, request_change
from service.run.supervisor import request_workers


class TooManyRuns(Exception):
    """The maximum number of runs of this key is already waiting or at work."""


class Conflict(Exception):
    """The run's state does not allow the request."""


class RunService:
    """Runs of the service. Methods block on disk and cluster, so they must not be called on an event loop's thread."""

    def __init__(self, store: RunStore, limits: LimitsConfig, presets: Presets, jobs: Jobs) -> None:
        self.store, self.limits, self.presets, self.jobs = store, limits, presets, jobs
        self.paths = store.paths
        self._follower = RunFollower(store, jobs, limits.runs_at_work)

    def close(self) -> None:
        """Stop following the runs; they continue."""
        self._follower.close()

    def check_folder(self) -> None:
        """Raises `RunError` if a run could not be recorded."""
        try:
            check_disk(self.paths.root)
        except (UsageError, OSError) as error:
            raise RunError(f"serve.folder: {error}") from error
        self.store.check()

    def check_cluster(self) -> None:
        """Raises `RunError` if the cluster does not respond."""
        self.jobs.state("none")

    def folder(self, id: str) -> Path:
        """Run folder."""
        return self.paths.folder(id)

    def log(self, record: RunRecord) -> str:
        """The last lines that the run printed."""
        return run_log(self.jobs, record, self.paths)

    def submit(self, body: Mapping[str, Any], owner: str, token: str | None = None) -> tuple[RunRecord, bool]:
        """The submitted run, and whether it is new: a token that was used before returns the run that it created.

        Raises `UsageError` for an invalid body, `TooManyRuns`, `Conflict` if the token was used for another body, and
        `RunError` if it cannot be recorded.
        """
        if before := self._submitted_before(owner, token, body):
            return before, False
        base, config = self.presets.make_config(body)
        self.check_folder()
        id = secrets.token_hex(6)
        new = RunRecord(id, time.time(), owner, token, base, config.steps, config.policy.model, dict(body))
        values = config.model_dump(mode="json", exclude={"out", "serve"})
        # Written before the record: after a crash, a record without its config could not be started.
        replace_file(self.paths.request(id), yaml.safe_dump(values, sort_keys=False).encode())
        if not self.store.add(new, self.limits.runs):
            self.paths.request(id).unlink()
            if before := self._submitted_before(owner, token, body):  # a moment ago
                return before, False
            raise self._too_many()
        self._follower.wake()
        return self.store.get(id), True

    def _too_many(self) -> TooManyRuns:
        return TooManyRuns(
            f"{self.limits.runs} of your runs are waiting or at work (serve.limits.runs); stop one, or try again later"
        )

    def _submitted_before(self, owner: str, token: str | None, body: Mapping[str, Any]) -> RunRecord | None:
        """The run that the owner submitted with this token; None if there is none. Raises `Conflict`."""
        record = self.store.by_token(owner, token) if token else None
        if record and record.request != dict(body):
            raise Conflict(f"this Idempotency-Key was used for another request, which created run {record.id}")
        return record

    def stop(self, record: RunRecord) -> RunRecord:
        """Stop a run; it can be resumed. Raises `Conflict` if it has ended."""
        if record.ended:
            raise Conflict(f"run {record.id} has already ended: {record.state}")
        if record.state == QUEUED and self.store.change(record, "stopped"):
            with suppress(RunError):  # the job exists only if an earlier service was killed while submitting it
                self.jobs.stop(record.job)
        elif self.jobs.state(record.job) or not interrupt_holder(self.folder(record.id)):  # it may outlive its cluster
            self.jobs.stop(record.job)
        return self.store.get(record.id)

    def resume(self, record: RunRecord) -> RunRecord:
        """Resume a run that ended early. Raises `Conflict` for any other, and `TooManyRuns`."""
        if not record.ended or record.state == "succeeded":
            raise Conflict(f"run {record.id} is {record.state}: nothing to resume")
        if not self.store.queue_again(record, self.limits.runs):
            if self.store.get(record.id) == record:
                raise self._too_many()
            raise Conflict(f"run {record.id} was resumed by another request")
        self._follower.wake()
        return self.store.get(record.id)

    def scale(self, record: RunRecord, numbers: Mapping[str, int]) -> None:
        """Request other numbers of workers for a running run. Raises `Conflict` if it is not running."""
        folder = self.folder(record.id)
        if not is_running(folder):
            raise Conflict(f"run {record.id} is not running")
        request_workers(folder, numbers)

    def change_reward(
        self, record: RunRecord, part: str | None, settings: Mapping[str, Any], at_step: int | None
    ) -> None:
        """Request a change of a running run's reward; the run answers when its next step, or `at_step`, begins.

        Raises `Conflict` if it is not running, `UsageError` if the change cannot be used or is not allowed.
        """
        folder = self.folder(record.id)
        if not is_running(folder):
            raise Conflict(f"run {record.id} is not running")
        config = validate(read_yaml(str(folder / CONFIG)))
        if at_step is not None and at_step >= config.steps:
            raise UsageError(f"at_step: the run has steps 0 to {config.steps - 1}, not {at_step}")
        now = read_versions(folder, config.reward)[-1].reward
        change = RewardChange(part or only_classifier(now), settings)
        self.presets.check_change(change, config.model_copy(update={"reward": now}))
        request_change(folder, check_change(change, now), at_step)
