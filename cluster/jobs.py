"""Runs as Ray jobs: submits, follows and stops them through the cluster's job API."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.job_submission import JobSubmissionClient

from configs.errors import RunError

LOG_LINES = 200
NO_AGENT = "No available agent"


class Jobs:
    """Jobs on the cluster that this process has joined."""

    def __init__(self, code: Path) -> None:
        """`code`: folder with the project's code; each job runs in a copy of it. Raises `RunError`."""
        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)
        self.code, self.address = code, ray.get_runtime_context().gcs_address
        try:
            self.client = JobSubmissionClient(self.address)
        except (RuntimeError, OSError) as error:
            raise RunError(f"the cluster at {self.address} takes no jobs: {error}") from error

    def submit(self, name: str, command: Sequence[str]) -> None:
        """Submit a command as the job `name`. Submitting it again has no effect.

        Raises `RunError` if the cluster rejects it.
        """
        # On the command line: Ray gives the job another RAY_ADDRESS, that of any Ray that it finds on the machine.
        entrypoint = shlex.join(["env", f"RAY_ADDRESS={self.address}", *command])
        try:
            self.client.submit_job(
                entrypoint=entrypoint, submission_id=name, runtime_env={"working_dir": str(self.code)}
            )
        except RuntimeError as error:
            if self.state(name) is None:
                raise RunError(f"the cluster rejected the job: {_reason(error)}") from error

    def state(self, name: str) -> str | None:
        """pending, running, stopped, succeeded or failed; None if the cluster does not know the job.

        Raises `RunError` if the cluster does not respond.
        """
        try:
            return str(self.client.get_job_status(name).value).lower()
        except RuntimeError as error:
            if "does not exist" in str(error):
                return None
            raise RunError(f"the cluster did not report the job's state: {str(error).splitlines()[-1]}") from error
        except OSError as error:
            raise RunError(f"the cluster does not respond: {error}") from error

    def stop(self, name: str) -> None:
        """Stop the job, as Ctrl-C would. Raises `RunError` if the cluster fails to."""
        try:
            self.client.stop_job(name)
        except (RuntimeError, OSError) as error:
            raise RunError(f"the cluster did not stop the job: {str(error).splitlines()[-1]}") from error

    def log(self, name: str) -> str:
        """Last lines of the job's output; empty if the job is unknown."""
        try:
            return "\n".join(self.client.get_job_logs(name).splitlines()[-LOG_LINES:])
        except (RuntimeError, OSError):
            return ""


def _reason(error: RuntimeError) -> str:
    text = str(error).splitlines()[-1]
    if NO_AGENT in text:
        return (
            "its job agent is not running yet. If this persists, another Ray on this machine occupies the agent's port "
            "(52365): stop that one, or serve on its cluster with --cluster.address"
        )
    return text
