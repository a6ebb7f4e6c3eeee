"""Another command whose steps are timed in turn with the benchmark's."""

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from configs.errors import RunError, UsageError


class ComparedCommand:
    """A command that is paused except while one of its steps is timed. It prints a JSON line with `step` per step."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.process = subprocess.Popen(
            shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        self._pause()

    def processes(self) -> set[psutil.Process]:
        """The command's process and all its descendants."""
        process = psutil.Process(self.process.pid)
        return {process, *process.children(recursive=True)}

    def step(self, limit: float) -> float:
        """Seconds until its next step is done. Raises `RunError` if it ends earlier; killed after `limit` seconds."""
        self._signal(signal.SIGCONT)
        began, timer = time.perf_counter(), threading.Timer(limit, self.kill)
        timer.start()
        try:
            return self._next_line(began)
        finally:
            timer.cancel()

    def _next_line(self, began: float) -> float:
        for line in self.process.stdout:
            if _is_step(line):
                seconds = time.perf_counter() - began
                self._pause()
                return seconds
        raise RunError(f"bench.vs: {self.command!r} ended with code {self.process.wait()} before its steps were done")

    def _pause(self) -> None:
        """Stop the process, and wait until it has stopped or ended."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        with suppress(ChildProcessError):  # it has ended
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG)  # consumed, so that the next one is seen

    def kill(self) -> None:
        """Kill the command unless it has ended."""
        with suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)


def _is_step(line: str) -> bool:
    try:
        return "step" in json.loads(line)
    except (ValueError, TypeError):
        return False


@contextmanager
def compared_command(command: str | None) -> Iterator[ComparedCommand | None]:
    """The started command, killed on exit; None without one. Raises `UsageError` if it cannot be run."""
    if not command:
        yield None
        return
    try:
        other = ComparedCommand(command)
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"bench.vs: {command!r} cannot be run: {error}") from error
    try:
        yield other
    finally:
        other.kill()
