"""A reward by another server: what it is sent, and every way in which it can fail to answer."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

import workers.reward.remote as remote
from configs.errors import UsageError
from tests.workers.rewards import reward
from workers.reward.failures import settle
from workers.reward.items import Item, MissingColumn
from workers.reward.remote import ServerError

ITEMS = [Item(f"text {i}", "p", ("r",), {"answer": i, "secret": "x"}) for i in range(5)]


class Server:
    """Answers each request as the next of `script` says, and the rest rightly: with the length of each completion."""

    def __init__(self):
        self.requests, self.script, self.url = [], [], ""
        self.at_once = self.most_at_once = 0
        self.arrived, self.release = threading.Semaphore(0), threading.Event()
        self.release.set()

    async def answer(self, request):
        body = await request.json()
        self.requests.append((body, dict(request.headers)))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrived.release()
        while not self.release.is_set():
            await asyncio.sleep(0.001)
        self.at_once -= 1
        if self.script:
            return await self.script.pop(0)(request, body)
        scores = [{"total": float(len(item["completion"])), "rewards": {"own": -1.5}} for item in body["items"]]
        return web.json_response({"scores": scores})


@pytest.fixture
def server():
    made, loop = Server(), asyncio.new_event_loop()
    app = web.Application()
    app.router.add_post("/scores", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)

    async def start():
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/scores"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield made
    made.release.set()
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Tries follow each other at once; the waits between them are seen."""
    waits, sleep = [], asyncio.sleep

    async def wait(seconds):
        if seconds > 0.001:
            waits.append(seconds)
        await sleep(0 if seconds > 0.001 else seconds)

    monkeypatch.setattr(remote.asyncio, "sleep", wait)
    return waits


def status(number, **headers):
    async def answer(request, body):
        return web.Response(status=number, text="no\n luck", headers=headers)

    return answer


def text(content):
    async def answer(request, body):
        return web.Response(text=content, content_type="application/json")

    return answer


async def hang(request, body):
    """Until the client has gone."""
    while request.transport is not None:
        await asyncio.sleep(0.001)


async def cut(request, body):
    request.transport.abort()
    return web.Response()


def values(server, **settings):
    return reward(type="http", url=server.url, timeout=0.5, **settings)(ITEMS)


def test_batches_of_items_are_answered_in_their_order(server):
    assert values(server, batch_size=2) == [6.0] * 5
    assert sorted(len(body["items"]) for body, _ in server.requests) == [1, 2, 2]
    [body] = [body for body, _ in server.requests if len(body["items"]) == 1]
    assert body == {"items": [{"completion": "text 4", "prompt": "p", "references": ["r"]}]}
    assert values(server, reward="own") == [-1.5] * 5


def test_only_the_columns_that_are_named_are_sent_and_the_key_only_as_a_header(server, monkeypatch):
    monkeypatch.setenv("POOL_KEY", "s3cret")
    values(server, columns=["answer"], key_env="POOL_KEY")
    [(body, headers)] = server.requests
    assert [item["row"] for item in body["items"]] == [{"answer": i} for i in range(5)]
    assert headers["Authorization"] == "Bearer s3cret"
    with pytest.raises(MissingColumn):
        values(server, columns=["question"])
    monkeypatch.delenv("POOL_KEY")
    with pytest.raises(UsageError, match=r"reward\.parts\.mine\.key_env: the environment variable POOL_KEY is not set"):
        values(server, key_env="POOL_KEY")


def test_no_more_requests_are_open_than_allowed(server):
    server.release.clear()
    with ThreadPoolExecutor() as pool:
        found = pool.submit(values, server, batch_size=1, concurrency=2)
        server.arrived.acquire()
        server.arrived.acquire()
        server.release.set()
        assert found.result() == [6.0] * 5
    assert server.most_at_once == 2


@pytest.mark.parametrize("failure", [status(500), status(503), status(429), status(408), hang, cut])
def test_what_may_pass_is_tried_again(server, failure, short_waits):
    server.script = [failure, failure]
    assert values(server) == [6.0] * 5 and len(server.requests) == 3
    assert short_waits == [0.5, 1.0], "each wait is longer than the last"


def test_a_server_may_ask_for_time(server, short_waits):
    server.script = [status(429, **{"Retry-After": "7"}), status(503, **{"Retry-After": "99999"})]
    assert values(server) == [6.0] * 5
    assert short_waits == [7.0, remote.LONGEST_WAIT]


LASTING = {
    "refused": (status(401), "status 401: no luck", 1),
    "redirected": (status(307, Location="http://127.0.0.1:1/"), "status 307", 1),
    "always busy": (status(503), r"status 503 \(3 tries\)", 3),
    "always silent": (hang, r"no answer within 0.5 s \(3 tries\)", 3),
    "always cut": (cut, r"ServerDisconnectedError.*\(3 tries\)", 3),
    "no JSON": (text("<html>"), "the answer is no JSON", 1),
    "nothing": (text(""), "the answer is no JSON", 1),
    "half of it": (text('{"scores": [{"total"'), "the answer is no JSON", 1),
    "another JSON": (text("[1, 2, 3, 4, 5]"), "5 scores were asked for, the answer has none", 1),
    "too few": (text('{"scores": [{"total": 1}]}'), "5 scores were asked for, the answer has 1 of them", 1),
    "too many": (text(json.dumps({"scores": [{"total": 1}] * 6})), "the answer has 6 of them", 1),
}


@pytest.mark.parametrize("case", LASTING)
def test_what_lasts_fails_each_completion_of_the_batch_with_the_reason(server, case):
    failure, reason, tries = LASTING[case]
    server.script = [failure] * tries
    found = values(server, retries=2)
    assert len(found) == 5 and all(isinstance(value, ServerError) for value in found)
    assert len(server.requests) == tries
    with pytest.raises(Exception, match=rf"reward mine failed: ServerError: {server.url}: .*{reason}"):
        settle("mine", found, "error", str)


def test_an_answer_too_large_to_be_one_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr(remote, "LARGEST_ANSWER", 1000)
    server.script = [text(" " * 5000)]
    assert "larger than 1000 bytes" in str(values(server)[0])


def test_one_failed_batch_leaves_the_others(server):
    server.script = [status(400)]
    found = values(server, batch_size=1, concurrency=1)
    assert isinstance(found[0], ServerError) and found[1:] == [6.0] * 4


def test_numbers_that_are_none_fail_alone(server):
    totals = '{"total": 2}, {"total": null}, {"total": NaN}, {"total": "2"}, {}'
    server.script = [text(f'{{"scores": [{totals}]}}')]
    found = values(server)
    scores = settle("mine", found, "skip", str)
    assert scores[0] == 2.0 and all(score != score for score in scores[1:])
    assert "total is '2', not a number" in str(found[3]) and "has no total" in str(found[4])
    server.script = [text(json.dumps({"scores": [{"total": True}] * 5}))]
    assert "not a number" in str(values(server)[0])
    server.script = [text(json.dumps({"scores": [{"rewards": {}}] * 5}))]
    assert "a score has no rewards.own" in str(values(server, reward="own")[0])


def test_no_server_at_all_is_said_after_all_tries():
    found = reward(type="http", url="http://127.0.0.1:9/scores", retries=1)(ITEMS)
    assert all("ClientConnectorError" in str(value) and "(2 tries)" in str(value) for value in found)
