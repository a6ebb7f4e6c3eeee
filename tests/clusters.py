"""A Ray head started as the README describes, on ports of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.conftest import ROOT

BIN = Path(sys.executable).parent


def call(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(words, cwd=ROOT, text=True, capture_output=True, timeout=240, **options)


@contextmanager
def head(home: Path, port: int, token: bool = True) -> Iterator[dict[str, str]]:
    """Start a head on `port` and the ports after it; yields an environment in which commands find it.

    Without `token`, whether the head requires one depends on the files in `home`.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    env = {**own, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home)}
    if token:
        env["RAY_AUTH_MODE"] = "token"
        assert call("ray", "get-auth-token", "--generate", env=env).returncode == 0
    started = call(
        "ray", "start", "--head", "--num-cpus=2", "--disable-usage-stats", f"--temp-dir={home / 'ray'}",
        f"--port={port}", f"--dashboard-port={port + 1}", f"--dashboard-agent-listen-port={port + 2}",
        f"--metrics-export-port={port + 3}", env=env,
    )  # fmt: skip
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield env | {"RAY_ADDRESS": f"http://127.0.0.1:{port + 1}"}
    finally:
        for process in psutil.process_iter(["cmdline"]):  # `ray stop` would stop every Ray on this machine
            if str(home / "ray") in " ".join(process.info["cmdline"] or []):
                process.kill()


def processes(port: int, *words: str) -> list[psutil.Process]:
    """Processes of the cluster on `port` with all words in their command line; others of the machine are left alone."""
    found = [(process, command(process)) for process in psutil.process_iter()]
    return [process for process, line in found if all(word in line for word in words) and is_below(process, port)]


def is_below(process: psutil.Process, port: int) -> bool:
    """Whether the process, or one above it, was started for the cluster on this port."""
    try:
        lines = [command(each) for each in (process, *process.parents())]
    except psutil.Error:
        return False
    return any(f":{port}" in line or f"={port}" in line for line in lines)


def command(process: psutil.Process) -> str:
    """The command line of a process, empty once it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
