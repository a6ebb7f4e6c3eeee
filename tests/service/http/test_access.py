"""Which keys, hosts and origins may do what."""

import base64
import json
import os
import re
import stat

import pytest
from fastapi.routing import APIRoute
from starlette.websockets import WebSocketDisconnect

import ray_job
from configs.errors import UsageError
from configs.service import ServeConfig
from service.commands.key import key
from service.commands.serve import check_address
from service.http.keys import SCOPES, KeyFile
from service.http.security import OPEN

RUN = "0123456789ab"
FILES = "/docs/files"


def walk(routes, prefix=""):
    """Path and route of all routes, including those of routers."""
    for route in routes:
        if router := getattr(route, "original_router", None):
            yield from walk(router.routes, prefix + route.include_context.prefix)
        elif hasattr(route, "path"):
            yield prefix + route.path, route


def api_routes(app):
    """The project's own routes."""
    return [route for _, route in walk(app.routes) if isinstance(route, APIRoute)]


def scopes(route):
    return [scope for dependency in route.dependant.dependencies for scope in dependency.own_oauth_scopes or ()]


def filled(path):
    return re.sub(r"\{[^}]*\}", "x", path.replace("{run}", RUN).replace("{campaign}", RUN))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_every_route_is_closed_unless_it_is_declared_open(make_client, keys):
    client = make_client(keys=keys[0])
    routes = list(api_routes(client.app))
    assert len(routes) > 15
    for route in routes:
        if route.path in OPEN:
            continue
        assert len(scopes(route)) == 1, f"{route.path} must declare the scope that it needs"
        for method in route.methods:
            answer = client.request(method, filled(route.path), headers={"Content-Type": "application/json"})
            assert answer.status_code == 401, route.path
    for path in (f"{FILES}/swagger-ui.css", "/page/static/x/page.css", "/nothing", "//", "/health/", "/ready/x"):
        assert client.get(path).status_code == 401, path
        assert client.post(path).status_code == 401, path


def test_each_scope_opens_its_own_routes_only(make_client, keys):
    client = make_client(keys=keys[0])
    for route in api_routes(client.app):
        if route.path in OPEN or "/events" in route.path:
            continue
        for scope in SCOPES:
            for method in route.methods:
                sent = {"data": {"seed": "1"}} if route.path.startswith(("/page", "/annotate")) else {"json": {}}
                code = client.request(method, filled(route.path), headers=bearer(keys[1][scope]), **sent).status_code
                assert (code == 403) == (scope not in scopes(route)), (route.path, scope, code)


def test_browsers_may_send_the_key_as_a_password(make_client, keys):
    client = make_client(keys=keys[0])
    basic = base64.b64encode(f"anybody:{keys[1]['read']}".encode()).decode()
    assert client.get("/", headers={"Authorization": f"Basic {basic}"}).status_code == 200
    refused = client.get("/runs")
    basic_first, bearer_second = refused.headers.get_list("WWW-Authenticate")
    assert basic_first.startswith("Basic realm=") and bearer_second == "Bearer", "Chromium reads one of each header"
    assert client.get("/", headers=bearer(keys[1]["submit"])).status_code == 403
    for wrong in ("Basic !!!", "Basic", f"Basic {basic[:-9]}", "Bearer", "Bearer \xff", "Digest x", f"bearer {RUN}"):
        assert client.get("/runs", headers={"Authorization": wrong.encode("latin-1")}).status_code == 401, wrong


def test_keys_are_stored_as_hashes_that_only_the_owner_reads_and_can_be_revoked(make_client, keys, tmp_path):
    file, made = keys
    assert not any(key in file.read_text() for key in made.values())
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    client = make_client(keys=file)
    assert client.get("/runs", headers=bearer(made["read"])).status_code == 200
    key(["revoke", str(file), "read", f"--serve.folder={tmp_path}"])
    assert client.get("/runs", headers=bearer(made["read"])).status_code == 401
    assert client.get("/models", headers=bearer(made["generate"])).status_code == 403


def test_invalid_key_files_and_scopes_are_reported(tmp_path, capsys):
    file = tmp_path / "keys.json"
    with pytest.raises(UsageError, match="unknown scope 'all'"):
        key(["create", str(file), "eve", "--scopes", "all"])
    with pytest.raises(UsageError, match="cannot be read"):
        KeyFile(file)
    for content in ("[]", "{", '{"a": 1}', '[{"name": "eve"}]'):
        file.write_text(content)
        with pytest.raises(UsageError, match=r"serve\.keys"):
            KeyFile(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_other_machines_can_reach_is_refused_without_keys(host, capsys):
    assert ray_job.main(["serve", f"--serve.host={host}"]) == 2
    assert "serve.host" in capsys.readouterr().err
    check_address(ServeConfig(host=host, keys="keys.json"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_needs_no_keys_and_serves_its_own_names_only(make_client, host):
    check_address(ServeConfig(host=host))  # raises if keys are needed
    client = make_client(f"--serve.host={host}")
    own = f"[{host}]" if ":" in host else host
    assert client.get("/runs", headers={"Host": f"{own}:8000"}).status_code == 200
    # DNS rebinding: another site could point its own name here, where no key keeps it out.
    assert client.get("/runs", headers={"Host": "evil.example"}).status_code == 421


def test_monitoring_may_use_the_ip_address_whatever_the_hosts_are(make_client, keys):
    client = make_client('--serve.hosts=["seqrlhf.example.org"]', keys=keys[0])
    by_address = {"Host": "10.0.0.7:8000"}
    assert (
        client.get("/health", headers=by_address).status_code
        == 200
        == client.get("/ready", headers=by_address).status_code
    )
    assert client.get("/metrics", headers=by_address | bearer(keys[1]["read"])).status_code == 200
    assert client.get("/metrics", headers=by_address).status_code == 401
    for name in ("evil.example", "10.0.0.7.evil.example", "10.0.0"):
        assert client.get("/metrics", headers={"Host": name}).status_code == 421, "names can be pointed elsewhere"


def test_a_websocket_without_a_key_is_closed(client):
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/runs"):
        pass
    assert closed.value.code == 1008


def test_other_hosts_and_origins_are_refused(client):
    assert client.get("/runs", headers={"Host": "evil.example"}).status_code == 421
    for origin in ("http://evil.example", "null", "http://localhost:81"):
        refused = client.post("/scores", json={"texts": ["x"]}, headers={"Origin": origin})
        assert refused.status_code == 403, origin
    assert client.post("/scores", json={"texts": ["x"]}, headers={"Origin": "http://localhost"}).status_code == 200
    assert client.post("/page/start", data={}, headers={"Origin": "null"}).status_code == 403
    # As a form of another site would send it, without a preflight request.
    plain = client.post("/runs", content=json.dumps({"steps": 1}), headers={"Content-Type": "text/plain"})
    assert plain.status_code == 422


def test_a_key_file_that_cannot_be_read_is_reported_and_opens_nothing(make_client, keys):
    client = make_client(keys=keys[0])
    headers, whole = bearer(keys[1]["read"]), keys[0].read_bytes()
    keys[0].write_text("[")
    refused = client.get("/runs", headers=headers)
    assert (
        refused.status_code == 503 and "keys of this service cannot be read" in refused.json()["errors"][0]["message"]
    )
    keys[0].write_bytes(whole + b"\n")
    assert client.get("/runs", headers=headers).status_code == 200


def test_an_unexpected_error_has_the_form_and_the_headers_of_all_others(client, monkeypatch):
    monkeypatch.setattr(client.app.state.runs.store, "page", lambda *_: 1 / 0)
    for method in ("GET", "HEAD"):
        failed = client.request(method, "/runs")
        assert failed.status_code == 500 and failed.headers["X-Content-Type-Options"] == "nosniff"
        assert failed.headers["X-Request-ID"] and "Content-Security-Policy" in failed.headers
        assert (failed.content == b"") == (method == "HEAD")


def test_responses_have_security_headers(client):
    page, data = client.get("/"), client.get("/runs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy and "http" not in policy and "eval" not in policy
    assert not re.findall(r"<script(?! src=)|<[^>]* on\w+=|javascript:|hx-on", page.text)
    assert data.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for answer in (page, data, client.get("/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
