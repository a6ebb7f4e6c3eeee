"""How requests to the service are tried: against one that runs, with one run from start to end."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.clusters import head
from tests.documents.pages import ROOT
from tests.documents.ways import Failed, Place, Way, arguments

LOG, PORT = "serve.log", 28379
SERVED = {"base": "quickstart", "evaluation": {"rows": 4, "samples": 1}, "cluster": {"backend": "inline"}}
"""The preset `quickstart` of the service that is tried."""
PATIENCE = 300.0
"""Seconds that a run of the service may take to get anywhere."""


@dataclass(frozen=True)
class Serve(Way):
    """The service, on any free port and a Ray of its own ports, for the requests that follow."""

    def try_out(self, command: str, place: Place) -> None:
        preset = place.folder / "presets/quickstart.yaml"
        preset.parent.mkdir()
        preset.write_text(yaml.safe_dump(SERVED))
        extra = ["--serve.port=0", f"--serve.folder={place.folder / 'served'}", "--serve.summary_replicas=1",
                 "--serve.score_replicas=1", f"--serve.presets={json.dumps([str(preset)])}"]  # fmt: skip
        home, log = place.folder / "home", (place.folder / LOG).open("w")
        home.mkdir()
        ray = head(home, PORT)
        env = ray.__enter__() | {"RAY_ADDRESS": f"127.0.0.1:{PORT}"}
        place.open.callback(ray.__exit__, None, None, None)  # also where a command fails
        words = [sys.executable, "ray_job.py", *arguments(command), *extra]
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        place.open.callback(ended, process)
        place.url = process.stdout.readline().strip()
        if not place.url.startswith("http://127.0.0.1:"):
            process.wait()
            raise Failed((place.folder / LOG).read_text())


@dataclass(frozen=True)
class Curl(Way):
    """A request to the service, once its run or campaign is in one of the states and has done some steps."""

    states: tuple[str, ...] = ()
    steps: int = 0
    submits: bool = False
    kind: str = "runs"

    def try_out(self, command: str, place: Place) -> None:
        try:
            self._send(command, place)
        except Failed as error:
            log = [line for line in (place.folder / LOG).read_text().splitlines() if '"status": 200' not in line]
            raise Failed("\n".join([str(error), "the service's log:", *log[-20:]])) from error

    def _send(self, command: str, place: Place) -> None:
        if self.states:
            wait_for(place, self)
        filled = re.sub(r"localhost:8000|https://[\w.]+\.org", place.url, command)
        filled = re.sub(r"\bID\b", place.run, filled)
        output = curl(*shlex.split(filled)[1:], cwd=place.folder)
        if self.submits:
            place.run = json.loads(output)["id"]


def curl(*words: str, cwd: Path) -> str:
    """What a request returns. Raises `Failed` if it is refused."""
    done = subprocess.run(["curl", "-sS", "--fail-with-body", *words], cwd=cwd, capture_output=True, timeout=300)
    output = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        raise Failed(output)
    return output


def wait_for(place: Place, wanted: Curl) -> None:
    """Until the run or campaign is in one of the states, with so many steps done."""
    until = time.monotonic() + PATIENCE
    while True:
        run = json.loads(curl(f"{place.url}/{wanted.kind}/{place.run}", cwd=place.folder))
        if run["state"] in wanted.states and run.get("step", 0) >= wanted.steps:
            return
        if time.monotonic() > until or (run["state"] == "failed" and "failed" not in wanted.states):
            raise Failed(f"it should have become {' or '.join(wanted.states)}, but is {run}")
        time.sleep(0.2)  # a service: what it waits for is a job of Ray's


def ended(process: subprocess.Popen) -> None:
    """End the service as Ctrl-C does."""
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
