"""HEAD is answered as GET is, without the body."""

import http.client
import json
import logging

import pytest

from service.http.request_log import log
from tests.service.http.test_access import api_routes, bearer
from tests.service.http.test_fuzz import finish

VARY = {"date", "x-request-id", "transfer-encoding"}
"""Headers that differ from request to request, and the one that says how a body is sent."""


def filled(path, run):
    return path.replace("{run}", run).replace("{name}", "report.html")


@pytest.fixture
def ask(client, served):
    """A function: method and path -> status, headers and body as the server sends them."""
    server = http.client.HTTPConnection(served(client).removeprefix("http://"))

    def ask(method, path):
        server.request(method, path)
        answer = server.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders() if name.lower() not in VARY}
        return answer.status, headers, answer.read()

    return ask


def test_every_route_with_get_answers_head_with_the_same_headers(client, ask):
    run = finish(client)
    paths = [filled(route.path, run) for route in api_routes(client.app) if "GET" in route.methods]
    assert len(paths) > 12
    for path in (*paths, "/docs/files/swagger-ui.css", "/runs/0123456789ab", "/nothing", "/runs/x/stop"):
        status, headers, _ = ask("GET", path)
        if path in ("/docs", "/metrics"):  # their bodies, and so their lengths, differ from request to request
            headers = headers.keys()
        found = ask("HEAD", path)
        assert (found[0], found[1] if isinstance(headers, dict) else found[1].keys()) == (status, headers), path
        assert found[2] == b"", path


def test_health_and_readiness_need_no_key_by_head_either(make_client, keys):
    client = make_client(keys=keys[0])
    assert [client.head(path).status_code for path in ("/health", "/ready", "/runs")] == [200, 200, 401]
    assert client.head("/runs", headers=bearer(keys[1]["generate"])).status_code == 403
    assert client.head("/runs", headers=bearer(keys[1]["read"])).status_code == 200


def test_head_of_an_event_stream_that_goes_on_is_answered_at_once(client, ask):
    run = client.post("/runs", json={}).json()["id"]
    status, headers, body = ask("HEAD", f"/runs/{run}/events")
    assert (status, body) == (200, b"") and headers["content-type"].startswith("text/event-stream")
    assert json.loads(ask("GET", f"/runs/{run}")[2])["id"] == run  # on the same connection


def test_the_log_tells_head_from_get(client, caplog):
    with caplog.at_level(logging.INFO, logger=log.name):
        client.head("/runs")
        client.get("/runs")
    assert [record.method for record in caplog.records if record.msg == "request"] == ["HEAD", "GET"]
