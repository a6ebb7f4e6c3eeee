"""Soak test of the service on a cluster: `python -m tests.soak [--minutes 120]`.

All at once: runs that are stopped, scaled or killed and resumed, clients whose every answer is compared, kills of
replicas and of runs' workers, and in the second half restarts of the service. Prints a JSON line each minute, with the
memory of all processes, and the results at the end. What every run trains has to be the same bits.
"""

import argparse
import hashlib
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil

from tests.clusters import head, processes
from tests.load import REPLICA, is_right, make_requests
from tests.service.http.test_serve import Service

PORT, STEPS, SEED = 28379, 6, 7
WORKERS = ("ray::RolloutWorker", "ray::RewardWorker", "ray::ReferenceWorker")
ENDED = ("succeeded", "failed", "stopped", "interrupted")
OPTIONS = [f"--cluster.resources.{role}.cpus=0" for role in ("rollout", "reward")]  # the runs have the CPUs
GROUPS = {"replicas": REPLICA, "gcs": "gcs_server", "raylet": "raylet/raylet", "dashboard": "dashboard.py",
          "agents": "agent", "serve": "ray::ServeController"}  # fmt: skip


class Soak:
    """A service under everything at once, until `done` is set."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.folder, self.done, self.up = service, folder, threading.Event(), threading.Event()
        self.up.set()
        self.counts, self.hashes, self.problems = Counter(), {}, []

    def ask(self, method: str, path: str, **options) -> httpx.Response:
        """An answer of the service; what it cannot answer while it restarts or lacks replicas is asked again."""
        for _ in range(300):
            try:
                answer = self.service.http.request(method, path, **options)
                if answer.status_code not in (429, 503):
                    return answer
                self.counts[f"{answer.status_code} again"] += 1
            except httpx.HTTPError as error:
                self.counts[f"{type(error).__name__} again"] += 1
            time.sleep(1)
        raise TimeoutError(f"{method} {path}: no answer within five minutes")

    def noting(self, part) -> None:
        """Do a part, and note what it could not do."""
        try:
            part()
        except Exception as error:
            self.note(f"{type(error).__name__}: {error}")

    def note(self, problem: str) -> None:
        """Print a problem at once, and keep it for the end."""
        self.problems.append(problem)
        print(json.dumps({"problem": problem}), flush=True)

    def clients(self, requests: list[dict]) -> None:
        """Ask for scores and summaries, and compare each answer."""
        draw = random.Random(0)
        while not self.done.wait(0.3):
            request = draw.choice(requests)
            answer = self.ask("POST", request["path"], json=request["body"])
            good = answer.status_code == 200 and is_right(request, answer.json())
            self.counts["right" if good else f"WRONG {answer.status_code}"] += 1

    def until(self, run: str, *states: str, steps: int = 0) -> dict:
        """The run once it has one of the states and that many steps."""
        while True:
            found = self.ask("GET", f"/runs/{run}").json()
            if (found["state"] in states and found["step"] >= steps) or found["state"] in ENDED:
                return found
            time.sleep(1)

    def runs(self) -> None:
        """One run after another, each in other trouble; all of one kind have to train the same bits."""
        number = 0
        while not self.done.is_set():
            base, trouble = ("small", "inline")[number % 2], ("stop", "none", "scale", "kill")[number // 2 % 4]
            body = {"base": base, "steps": STEPS, "seed": SEED}
            run = self.ask("POST", "/runs", json=body, headers={"Idempotency-Key": f"{number}"}).json()["id"]
            self.until(run, "running", steps=2)
            getattr(self, trouble)(run)
            while (found := self.until(run, *ENDED))["state"] != "succeeded":
                self.counts[f"{found['state']}, resumed"] += 1
                self.ask("POST", f"/runs/{run}/resume")
                time.sleep(3)
            packed = self.service.folder / run / "adapter/adapter_model.safetensors"
            digest = hashlib.sha256(packed.read_bytes()).hexdigest()[:8]
            if digest != self.hashes.setdefault(base, digest):
                self.note(f"run {run} ({base}, {trouble}) trained {digest}, not {self.hashes[base]}")
            self.counts[f"runs {base} {trouble}"] += 1
            number += 1

    def none(self, run: str) -> None:
        """Leave the run alone."""

    def stop(self, run: str) -> None:
        """Stop the run."""
        self.ask("POST", f"/runs/{run}/stop")

    def scale(self, run: str) -> None:
        """Ask for a second worker."""
        self.ask("PATCH", f"/runs/{run}/workers", json={"reward": 2})

    def kill(self, run: str) -> None:
        """Kill the run's driver."""
        for process in found("ray_job.py", run):
            process.send_signal(signal.SIGKILL)

    def streams(self) -> None:
        """Follow the newest run's events, again and again."""
        while not self.done.wait(1):
            try:
                newest = self.ask("GET", "/runs?limit=1").json()["runs"]
                kinds = [kind for kind, _ in self.service.events(newest[0]["id"])] if newest else ["end"]
                self.counts["streams ended" if kinds[-1] == "end" else "streams without an end"] += 1
            except httpx.HTTPError:
                self.counts["streams cut"] += 1

    def kills(self, every: float) -> None:
        """Kill a replica or a run's worker at intervals, but not while the service starts.

        Where a start takes longer than the interval, none would ever succeed.
        """
        draw = random.Random(1)
        while not self.done.wait(every):
            self.up.wait()
            names = [name for name in (REPLICA, *WORKERS) if found(name)]
            if names and (processes := found(draw.choice(names))):
                draw.choice(processes).send_signal(signal.SIGKILL)
                self.counts["kills"] += 1

    def restart(self, sign: signal.Signals) -> None:
        """End the service and start it again."""
        self.up.clear()
        self.service.process.send_signal(sign)
        code = self.service.process.wait(timeout=90)
        if sign == signal.SIGTERM and code != 0:
            self.note(f"the service ended with code {code}")
        self.service.start()
        self.up.set()
        self.counts[f"restarts by {sign.name}"] += 1

    def memory(self) -> dict[str, float]:
        """Megabytes of the processes' own memory, threads and files of the service, and megabytes in its folder."""
        service = psutil.Process(self.service.process.pid)
        sizes = {"service": size(service), "threads": service.num_threads(), "files": service.num_fds()}
        sizes |= {name: sum(map(size, found(pattern))) for name, pattern in GROUPS.items()}
        folder = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        return {name: round(value, 1) for name, value in {**sizes, "folder": folder / 1e6}.items()}


def size(process: psutil.Process) -> float:
    """Megabytes that are the process's own."""
    try:
        return process.memory_full_info().uss / 1e6
    except psutil.Error:
        return 0.0


def found(*words: str) -> list[psutil.Process]:
    """Processes of the cluster with all words in their command line."""
    return processes(PORT, *words)


def main() -> None:
    """Run everything for the given time, with restarts in the second half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--kill-every", type=float, default=90, help="seconds")
    parser.add_argument("--restart-every", type=int, default=10, help="minutes")
    given = parser.parse_args()
    requests = [request for kind in make_requests() for request in kind]
    with tempfile.TemporaryDirectory() as folder:
        home, place = Path(folder) / "home", Path(folder) / "service"
        home.mkdir()
        place.mkdir()
        with head(home, port=PORT) as env:
            soak = Soak(Service(env | {"RAY_ADDRESS": f"127.0.0.1:{PORT}"}, place / "runs", *OPTIONS), place)
            everything = (soak.runs, soak.streams, lambda: soak.clients(requests), lambda: soak.kills(given.kill_every))
            threads = [threading.Thread(target=soak.noting, args=(part,), daemon=True) for part in everything]
            for thread in threads:
                thread.start()
            signals = [signal.SIGTERM, signal.SIGKILL]
            for minute in range(1, round(given.minutes) + 1):
                time.sleep(60)
                print(json.dumps({"minute": minute, **soak.memory(), **soak.counts}), flush=True)
                if minute > given.minutes / 2 and minute % given.restart_every == 0 and minute < given.minutes:
                    soak.restart(signals[0])
                    signals.reverse()
            soak.done.set()
            for thread in threads:
                thread.join(timeout=300)
            print(json.dumps({"problems": soak.problems, "hashes": soak.hashes, **soak.counts}), flush=True)
            sys.exit(bool(soak.problems) or soak.service.stop() != 0)


if __name__ == "__main__":
    main()
