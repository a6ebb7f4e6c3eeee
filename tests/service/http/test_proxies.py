"""What a proxy changes in requests: the path, the Host header, and with it how other sites are told apart."""

import re
from html import unescape

import pytest
from pydantic import ValidationError

from configs.service import ROUTES, ServeConfig
from tests.campaigns import add_campaign
from tests.service.http.test_access import bearer, walk
from tests.service.http.test_fuzz import finish

ROOT = "/tools/seqrlhf"
OTHER_HOST = {"Host": "127.0.0.1:8000"}
"""As nginx sends it unless it is told otherwise."""


@pytest.fixture(params=["passed on", "removed"])
def proxied(request, make_client):
    """A client of a service under a path, and the prefix of requests as the proxy sends them."""
    client = make_client(f"--serve.root_path={ROOT}", '--serve.hosts=["seqrlhf.example.org"]')
    return client, ROOT if request.param == "passed on" else ""


def test_links_redirects_and_addresses_start_with_the_root_path(proxied):
    client, sent = proxied
    run = finish(client)
    submitted = client.post(f"{sent}/runs", json={"steps": 1})
    assert submitted.headers["Location"] == f"{ROOT}/runs/{submitted.json()['id']}"
    files = client.get(f"{sent}/runs/{run}").json()["files"]
    assert files and all(file["url"].startswith(f"{ROOT}/runs/{run}/files/") for file in files)
    assert client.get(f"{sent}/", follow_redirects=False).headers["Location"] == f"{ROOT}/page/runs"
    started = client.post(f"{sent}/page/start", data={"preset": "quickstart"}, follow_redirects=False)
    assert started.headers["Location"].startswith(f"{ROOT}/page/runs/")
    campaign = add_campaign(client)
    client.cookies.set("annotator", "ann")
    own = ("/annotate", f"/annotate/{campaign}", "/page/campaigns", f"/page/campaigns/{campaign}")
    for path in ("/page/runs", f"/page/runs/{run}", "/page/start", "/page/try", "/docs", *own):
        page = client.get(f"{sent}{path}")
        attributes = "href|src|action|hx-get|hx-post|data-url|data-steps"
        links = set(re.findall(rf'(?:{attributes})="([^"]*)"', page.text)) - {"#main"}
        assert page.status_code == 200 and len(links) > 3
        for link in links:
            assert link.startswith(f"{ROOT}/"), (path, link)
            assert client.get(sent + unescape(link).removeprefix(ROOT)).status_code in (200, 405), link
    document = client.get(f"{sent}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]


def test_the_root_path_itself_is_the_first_page(proxied):
    client, sent = proxied
    assert client.get(sent or "/", follow_redirects=False).headers["Location"] == f"{ROOT}/page/try"


def test_a_path_with_a_slash_more_leads_to_no_host(client):
    answer = client.get("/runs/", follow_redirects=False)
    assert answer.status_code == 404 and "Location" not in answer.headers


@pytest.mark.parametrize("path", ["seqrlhf", "/", "/a/", "//a", "/a b", "/..", "/a?b", "/runs", "/page/x", "https://a"])
def test_other_root_paths_are_refused(path):
    with pytest.raises(ValidationError, match="root_path"):
        ServeConfig(root_path=path)


def test_no_root_path_may_start_as_a_route(client):
    parts = {path.split("/")[1] for path, _ in walk(client.app.routes)} - {""}
    assert parts == set(ROUTES)


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),  # not from a browser
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://any.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8000"}, 403),
        ({"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:8000"}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://127.0.0.1:8001"}, 403),
        ({"Origin": "http://SEQRLHF.example.org"}, 200),
        ({"Origin": "http://seqrlhf.example.org:8080"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://evil.example/seqrlhf.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_only_pages_of_the_service_may_change_something(make_client, headers, status):
    client = make_client('--serve.hosts=["seqrlhf.example.org"]')
    answer = client.post("/scores", json={"texts": ["x"]}, headers=OTHER_HOST | headers)
    assert answer.status_code == status
    assert client.get("/runs", headers=OTHER_HOST | headers).status_code == 200


def test_streams_ask_proxies_not_to_buffer_them(client):
    answer = client.get(f"/runs/{finish(client)}/events")
    assert answer.headers["X-Accel-Buffering"] == "no"


def test_errors_of_pages_are_pages_and_those_of_the_api_are_not(make_client, keys):
    client = make_client(keys=keys[0])
    read = bearer(keys[1]["read"])
    for path, headers, status in (("/page/runs", {}, 401), ("/page/nothing", read, 404), ("/page/runs/x", read, 404),
                                  ("/page/runs?page=x", read, 422), ("/", {"Host": "evil.example", **read}, 421),
                                  ("/", bearer(keys[1]["submit"]), 403)):  # fmt: skip
        page = client.get(path, headers=headers)
        assert page.status_code == status and page.headers["Content-Type"].startswith("text/html"), path
        assert 'id="problem"' in page.text and "<script" not in page.text
    posted = client.post("/page/start", data={}, headers=read)
    assert posted.status_code == 403 and "lacks the scope &#39;submit&#39;" in posted.text
    assert client.get("/runs/x", headers=read).json()["errors"]
