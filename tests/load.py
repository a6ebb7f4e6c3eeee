"""Load test of the service: `python -m tests.load [--requests 10000]`.

Every answer is compared with that of the models to the same request alone. First, the service and a plain endpoint
without batching get the same load in turn; then two polite keys ask beside a greedy one; then replicas are killed.
Prints a JSON line for each part.
"""

import argparse
import asyncio
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from itertools import chain
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from urllib.request import urlopen

import aiohttp
import numpy as np
import psutil

CLIENTS, CONCURRENCY, ROUNDS = 4, 16, 4
SUMMARIES = 0.25
"""Share of requests for a summary; the others are for a score."""
CLEAN = (429, 503)
REPLICA = "ServeReplica:seqrlhf"


def make_requests() -> tuple[list[dict], list[dict]]:
    """Requests for scores and for summaries, each with the right answer."""
    import torch

    from cluster.serving.deployment import summarizer_settings
    from configs.load import load_config
    from learner.adapter import BASE
    from tests.conftest import scorer_settings
    from workers.inference.scorer import Scorer
    from workers.inference.summarizer import Summarizer, SummaryRequest
    from workers.reward.items import Item

    torch.set_num_threads(1)
    config = load_config([])
    summarizer, scorer = Summarizer(summarizer_settings(config)), Scorer(scorer_settings(config))
    base = summarizer.read(BASE)
    with open(f"{config.data.path}/test.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:200]
    texts = [line for row in rows for line in row["dialogue"].splitlines()] + [row["summary"] for row in rows]
    scores = [
        {"path": "/scores", "body": {"texts": [text]}, "right": scorer.score([Item(text)])[0].total}
        for text in set(texts)
    ]
    summaries = [
        {
            "path": "/summaries",
            "body": {"dialogues": [row["dialogue"]], "seed": seed},
            "right": summarizer.summarize([summarizer.tokenize(SummaryRequest(row["dialogue"], seed))], base)[0],
        }
        for row in rows
        for seed in (None, 5)
    ]
    return scores, summaries


def is_right(request: dict, answer: dict) -> bool:
    """True for the right answer to a request."""
    if request["path"] == "/summaries":
        return answer["summaries"][0]["texts"] == [request["right"]]
    return abs(answer["scores"][0]["total"] - request["right"]) < 1e-3


def client(
    url: str, key: str, number: int, count: int, scores: list[dict], summaries: list[dict]
) -> tuple[Counter, list[float], tuple]:
    """One client with several concurrent requests: outcomes, latencies of right answers, start and end time."""
    draw, outcomes, seconds = random.Random(number), Counter(), []
    headers = {"Authorization": f"Bearer {key}"}

    async def worker(session: aiohttp.ClientSession, share: int) -> None:
        for _ in range(share):
            request = draw.choice(summaries if draw.random() < SUMMARIES else scores)
            started = time.perf_counter()
            async with session.post(url + request["path"], json=request["body"], headers=headers) as answer:
                if answer.status == 200 and is_right(request, await answer.json()):
                    outcomes["right"] += 1
                    seconds.append(time.perf_counter() - started)
                else:
                    outcomes["WRONG" if answer.status == 200 else str(answer.status)] += 1
            if answer.status in CLEAN:
                await asyncio.sleep(min(1.0, float(answer.headers["Retry-After"])))

    async def all_workers() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*[worker(session, count // CONCURRENCY) for _ in range(CONCURRENCY)])

    started = time.perf_counter()
    asyncio.run(all_workers())
    return outcomes, seconds, (started, time.perf_counter())


def greedy_client(url: str, key: str, texts: list[str], done: Event) -> None:
    """Ask for as many scores as a request may hold, several times at once, without ever pausing."""
    headers = {"Authorization": f"Bearer {key}"}

    async def worker(session: aiohttp.ClientSession) -> None:
        while not done.is_set():
            async with session.post(url + "/scores", json={"texts": texts[:64]}, headers=headers) as answer:
                await answer.read()

    async def all_workers() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*[worker(session) for _ in range(CONCURRENCY)])

    asyncio.run(all_workers())


@contextmanager
def greed(url: str, key: str, scores: list[dict]):
    """A greedy client beside whatever is done in the context."""
    context = get_context("spawn")
    done = context.Event()
    texts = [request["body"]["texts"][0] for request in scores]
    greedy = context.Process(target=greedy_client, args=(url, key, texts, done))
    greedy.start()
    try:
        yield
    finally:
        done.set()
        greedy.join()


def load(url: str, keys: list[str], count: int, requests: tuple[list[dict], list[dict]], first: int) -> dict:
    """Run all clients at once, which take turns with the keys; the results."""
    with get_context("spawn").Pool(CLIENTS) as pool:
        names = [keys[i % len(keys)] for i in range(CLIENTS)]
        parts = pool.starmap(client, [(url, names[i], first + i, count // CLIENTS, *requests) for i in range(CLIENTS)])
    outcomes, seconds, times = zip(*parts, strict=True)
    outcomes, seconds = sum(outcomes, Counter()), sorted(chain(*seconds))
    taken = max(end for _, end in times) - min(started for started, _ in times)
    p50, p95 = np.percentile(seconds, [50, 95])
    return {
        "requests": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "requests_per_second": round(len(seconds) / taken, 1),
        "p50_ms": round(1e3 * p50, 1),
        "p95_ms": round(1e3 * p95, 1),
    }


@contextmanager
def process(*words: str, until: str):
    """Start a command and wait until a line of its output contains `until`; yields the process and the line."""
    started = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = next((line for line in started.stdout if until in line), None)
        assert line, f"{words} ended with code {started.wait()}"
        threading.Thread(target=lambda: [None for _ in started.stdout], daemon=True).start()
        yield started, line
    finally:
        started.terminate()
        started.wait()


class Killer(threading.Thread):
    """Kills a replica at intervals, and records the memory of the service."""

    def __init__(self, pid: int, every: float) -> None:
        super().__init__(daemon=True)
        self.service, self.every, self.done = psutil.Process(pid), every, threading.Event()
        self.kills, self.memory = 0, []

    def run(self) -> None:
        """Run until `done` is set."""
        draw = random.Random(0)
        while not self.done.wait(self.every):
            self.memory.append(self.service.memory_full_info().uss / 1e6)
            if found := [p for p in psutil.process_iter(["cmdline"]) if REPLICA in " ".join(p.info["cmdline"] or [])]:
                os.kill(draw.choice(found).pid, signal.SIGKILL)
                self.kills += 1


def main() -> None:
    """Run the comparison, then the load with kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kill-every", type=float, default=10.0)
    given, extra = parser.parse_known_args()
    requests = make_requests()
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/keys.json"
        greedy, *polite = [make_key(file, name) for name in ("greedy", "ann", "bob")]
        serve = ["ray_job.py", "serve", f"--serve.folder={folder}", "--serve.port=0", f"--serve.keys={file}", *extra]
        plain = ["-m", "uvicorn", "tests.plain:app", "--port", "8123", "--log-level", "info", "--no-access-log"]
        with process(*serve, until="http://") as (service, url), process(*plain, until="Uvicorn running"):
            url = url.strip()
            compare(url, "http://127.0.0.1:8123", polite, requests)
            print(json.dumps({"part": "polite", **load(url, polite, 640, requests, first=100)}), flush=True)
            with greed(url, greedy, requests[0]):
                result = load(url, polite, 640, requests, first=100)
            print(json.dumps({"part": "polite beside greedy", **result}), flush=True)
            killer = Killer(service.pid, given.kill_every)
            killer.start()
            result = load(url, polite, given.requests, requests, first=1000)
            killer.done.set()
            killer.join()
            memory = [round(m, 1) for m in killer.memory]
            print(json.dumps({"part": "killed", **result, "kills": killer.kills, "service_mb": memory}), flush=True)
            with urlopen(url + "/ready") as ready:
                print(json.dumps({"part": "after", **json.load(ready)}), flush=True)


def make_key(file: str, name: str) -> str:
    """A new key of the file."""
    words = ["ray_job.py", "key", "create", file, name, f"--serve.folder={os.path.dirname(file)}"]
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True).stdout.strip()


def compare(url: str, plain: str, keys: list[str], requests: tuple[list[dict], list[dict]]) -> None:
    """The same load on both in turn, in alternating order."""
    for round in range(ROUNDS):
        both = [("service", url), ("plain", plain)]
        for name, address in both if round % 2 else reversed(both):
            result = load(address, keys, 640, requests, first=CLIENTS * round)
            print(json.dumps({"part": name, "round": round, **result}), flush=True)


if __name__ == "__main__":
    main()
