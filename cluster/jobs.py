"""Runs as Ray jobs: submitted, followed and stopped through the cluster's own interface for jobs."""

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
    """The jobs of the cluster that this process has joined."""

    def __init__(self, code: Path) -> None:
        """`code` is the folder that each job gets a copy of and runs in."""
        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)
        self.code = code
        self.client = JobSubmissionClient(ray.get_runtime_context().gcs_address)

    def submit(self, name: str, command: Sequence[str]) -> None:
        """Have a command run as the job of that name; again and again does no harm.

        Raises `RunError` where the cluster does not take it.
        """
        try:
            self.client.submit_job(
                entrypoint=shlex.join(command), submission_id=name, runtime_env={"working_dir": str(self.code)}
            )
        except RuntimeError as error:
            if self.state(name) is None:
                raise RunError(f"the cluster did not take the job: {_reason(error)}") from error

    def state(self, name: str) -> str | None:
        """pending, running, stopped, succeeded or failed; None where the cluster knows of no such job.

        Raises `RunError` where the cluster does not answer.
        """
        try:
            return str(self.client.get_job_status(name).value).lower()
        except RuntimeError as error:
            if "does not exist" in str(error):
                return None
            raise RunError(f"the cluster does not tell of its jobs: {str(error).splitlines()[-1]}") from error
        except OSError as error:
            raise RunError(f"the cluster does not answer: {error}") from error

    def stop(self, name: str) -> None:
        """Ask the job to end, as Ctrl-C would. Raises `RunError` where the cluster does not."""
        try:
            self.client.stop_job(name)
        except (RuntimeError, OSError) as error:
            raise RunError(f"the cluster did not stop the job: {str(error).splitlines()[-1]}") from error

    def log(self, name: str) -> str:
        """The last lines of what it printed; nothing where it is not known."""
        try:
            return "\n".join(self.client.get_job_logs(name).splitlines()[-LOG_LINES:])
        except (RuntimeError, OSError):
            return ""


def _reason(error: RuntimeError) -> str:
    text = str(error).splitlines()[-1]
    if NO_AGENT in text:
        return (
            "it has no agent that does, yet. If it stays so, another Ray on this machine has the port that is needed "
            "(52365): stop that one, or serve on its cluster by --cluster.address"
        )
    return text
