"""Many keys on one service: none waits for all that another has asked for, and who leaves is forgotten."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cluster.serving.client import TooSlow
from service.commands.key import key
from service.http.models.turns import Busy, Turns
from service.http.runs.follower import next_turns
from service.http.runs.store import RunRecord
from tests.service.http.test_access import bearer
from tests.service.http.test_limits import until


class Texts:
    """Texts that are answered when the test says so, and the order in which they came through."""

    def __init__(self, turns):
        self.turns, self.order, self.let_go = turns, [], asyncio.Event()

    def ask(self, key, count):
        return [asyncio.ensure_future(self._text(key)) for _ in range(count)]

    async def _text(self, key):
        async with self.turns.turn(key):
            self.order.append(key)
            await self.let_go.wait()


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_keys_take_turns_however_much_one_has_asked_for():
    async def scenario():
        texts = Texts(Turns(limit=1000, capacity=3, patience=30))
        asked = [*texts.ask("greedy", 100), *texts.ask("polite", 3), *texts.ask("other", 2)]
        await settle()
        assert texts.order == ["greedy"] * 3, "no more than the capacity at a time"
        texts.let_go.set()
        await asyncio.gather(*asked)
        assert texts.order[3:11] == ["greedy", "polite", "other", "greedy", "polite", "other", "greedy", "polite"]
        assert Counter(texts.order) == {"greedy": 100, "polite": 3, "other": 2}

    run(scenario)


def test_texts_of_a_client_that_left_take_no_turn():
    async def scenario():
        turns = Turns(limit=1000, capacity=2, patience=30)
        texts = Texts(turns)
        gone, staying = texts.ask("gone", 50), texts.ask("staying", 2)
        await settle()
        for text in gone:
            text.cancel()
        await settle()
        assert texts.order == ["gone", "gone", "staying", "staying"], "both places were freed at once"
        texts.let_go.set()
        await asyncio.gather(*staying)
        assert not turns._waiting and turns._in_progress == 0

    run(scenario)


def test_a_turn_that_does_not_come_ends_the_waiting():
    async def scenario():
        texts = Texts(Turns(limit=1000, capacity=1, patience=0.01))
        [first], [second] = texts.ask("a", 1), texts.ask("b", 1)
        with pytest.raises(TooSlow, match="no turn within"):
            await second
        texts.let_go.set()
        await first
        assert texts.order == ["a"] and not texts.turns._waiting

    run(scenario)


def test_more_capacity_lets_more_through():
    async def scenario():
        turns = Turns(limit=1000, capacity=1, patience=30)
        texts = Texts(turns)
        asked = texts.ask("a", 5)
        await settle()
        turns.resize(4)
        await settle()
        assert len(texts.order) == 4
        texts.let_go.set()
        await asyncio.gather(*asked)

    run(scenario)


def test_a_quota_is_of_one_key_and_returned_when_the_texts_end():
    turns = Turns(limit=4, capacity=1, patience=30)
    with turns.admit("greedy", 9):  # one request is never too large for an idle key
        with pytest.raises(Busy), turns.admit("greedy", 1):
            pass
        with turns.admit("polite", 4), pytest.raises(Busy), turns.admit("polite", 1):
            pass
    with turns.admit("greedy", 4):
        pass
    assert not turns.pending


def record(name, owner, state="queued", created=0.0):
    return RunRecord(name, created, owner, None, "quickstart", 1, "policy", {}, state)


def test_queued_runs_start_in_turns_of_their_owners():
    greedy = [record(f"g{i}", "greedy", created=i) for i in range(6)]
    polite = [record("p0", "polite", created=10), record("p1", "polite", created=11)]
    working = [record("g-", "greedy", "running")]
    assert next_turns([*working, *greedy, *polite], at_work=4) == {"p0", "p1", "g0"}
    assert next_turns([*greedy, *polite], at_work=100) == {r.id for r in [*greedy, *polite]}
    assert next_turns([*working, *greedy], at_work=1) == set()


@pytest.fixture
def two_keys(tmp_path, capsys):
    """A key file, and the headers of a greedy and of a polite key."""
    file, headers = tmp_path / "keys.json", []
    for name in ("greedy", "polite"):
        key(["create", str(file), name, "--scopes", "read,generate,submit", f"--serve.folder={tmp_path}"])
        headers.append(bearer(capsys.readouterr().out.strip()))
    return file, *headers


def test_a_greedy_key_is_refused_and_a_polite_one_answered(make_client, two_keys, models, monkeypatch):
    file, greedy, polite = two_keys
    client = make_client("--serve.limits.queue=8", keys=file)
    started, let_go, score = threading.Event(), threading.Event(), models.score

    async def slow(item):
        if item.completion == "greedy":
            started.set()
            while not let_go.is_set():
                await asyncio.sleep(0.01)
        return await score(item)

    monkeypatch.setattr(models, "score", slow)
    body, answers = {"texts": ["greedy"] * 3}, []
    thread = threading.Thread(target=lambda: answers.append(client.post("/scores", json=body, headers=greedy)))
    thread.start()
    assert started.wait(timeout=30)
    assert client.post("/scores", json={"texts": ["greedy"] * 6}, headers=greedy).status_code == 429
    assert [client.post("/scores", json={"texts": ["x"]}, headers=polite).status_code for _ in range(20)] == [200] * 20
    let_go.set()
    thread.join()
    assert answers[0].status_code == 200


def test_runs_at_once_are_limited_by_key_and_in_all(make_client, two_keys):
    file, greedy, polite = two_keys
    client = make_client("--serve.limits.runs=3", "--serve.limits.runs_at_work=2", keys=file)
    ids = [client.post("/runs", json={}, headers=greedy).json()["id"] for _ in range(3)]
    assert client.post("/runs", json={}, headers=greedy).status_code == 429
    assert client.post("/runs", json={}, headers=polite).status_code == 201
    waiting = until(client, ids[2], lambda run: run["message"], greedy)
    assert waiting["state"] == "queued" and "waits for its turn: 2 runs are at work" in waiting["message"]


def test_resumed_runs_count_too_also_those_resumed_at_the_same_moment(make_client, two_keys):
    file, greedy, polite = two_keys
    client = make_client("--serve.limits.runs=2", keys=file)
    runs = client.app.state.runs
    records = []
    for _ in range(4):
        run = client.post("/runs", json={}, headers=greedy).json()["id"]
        while not runs.store.change(runs.store.get(run), "stopped"):
            pass  # it was just being submitted
        records.append(runs.store.get(run))
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda r: client.post(f"/runs/{r.id}/resume", headers=greedy).status_code, records))
    assert sorted(outcomes) == [202, 202, 429, 429]
    assert client.post("/runs", json={}, headers=polite).status_code == 201


def test_event_streams_are_limited_by_key_and_cut_when_the_key_is_revoked(make_client, served, two_keys):
    file, greedy, polite = two_keys
    client = make_client("--serve.limits.streams=1", keys=file)
    run, url = client.post("/runs", json={}, headers=greedy).json()["id"], served(client)
    with httpx.stream("GET", f"{url}/runs/{run}/events", headers=greedy, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: state"
        refused = httpx.get(f"{url}/runs/{run}/events", headers=greedy)
        assert refused.status_code == 429 and "serve.limits.streams" in refused.text and refused.headers["Retry-After"]
        with httpx.stream("GET", f"{url}/runs/{run}/events", headers=polite) as other:
            assert other.status_code == 200
        key(["revoke", str(file), "greedy", f"--serve.folder={file.parent}"])
        assert not [line for line in lines if line == "event: end"], "cut, as another request would be refused"
    streams = client.app.state.streams.open
    while any(streams.values()):
        time.sleep(0.01)  # the stream of `polite` was left, which the server notices a moment later


@pytest.mark.parametrize("path, accept", [
    ("/scores", "application/json"), ("/summaries", "application/json"), ("/summaries", "application/x-ndjson"),
])  # fmt: skip
def test_a_client_that_leaves_is_forgotten_at_once(make_client, served, models, monkeypatch, path, accept):
    client = make_client("--serve.limits.queue=2")
    started, cancelled = threading.Event(), threading.Event()

    async def hangs(*_):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    monkeypatch.setattr(models, "score", hangs)
    monkeypatch.setattr(models, "summarize", hangs)
    url = served(client)

    async def leave():
        async with httpx.AsyncClient() as http:
            body = {"texts": ["a", "b"]} if path == "/scores" else {"dialogues": ["a", "b"]}
            asking = asyncio.ensure_future(http.post(url + path, json=body, headers={"Accept": accept}))
            assert await asyncio.to_thread(started.wait, 30)
            asking.cancel()

    asyncio.run(leave())
    assert cancelled.wait(timeout=30)
    monkeypatch.undo()
    field = "texts" if path == "/scores" else "dialogues"
    assert httpx.post(url + path, json={field: ["a", "b"]}, timeout=30).status_code == 200, "its places are free again"
