"""The service with keys behind nginx as docs/proxies.md configures it, in a browser that knows it by another name."""

import json
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from service.commands.key import key
from tests.browser import chromium
from tests.conftest import ROOT
from tests.documents.pages import blocks
from tests.service.page.page import Page

HOST = "seqrlhf.example.org"
WHOLE = """{user}
daemon off;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""
DOCUMENTED = list(blocks((ROOT / "docs/proxies.md").read_text(encoding="utf-8")))
OWN_HOST, PASSED_ON, REMOVED = [block for language, block in DOCUMENTED if language == "nginx"]


def server(form):
    """A `server` block, and the root path under which it serves."""
    if form in ("own host", "without TLS"):
        return OWN_HOST, ""
    location = PASSED_ON if form == "path passed on" else REMOVED
    return re.sub(r"    location / \{.*?\n    \}\n", lambda _: location, OWN_HOST, flags=re.DOTALL), "/seqrlhf"


@pytest.fixture
def nginx(tmp_path):
    """A function: a server block, the service's address, whether with TLS -> the port at which nginx listens."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    running = []

    def start(block, address, tls):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        block = block.replace("http://127.0.0.1:8000", address)
        block = block.replace("listen 443 ssl;", f"listen 127.0.0.1:{port}{' ssl' if tls else ''};")
        if tls:
            certificate = ["-keyout", tmp_path / "own.key", "-out", tmp_path / "own.pem", "-subj", f"/CN={HOST}"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate],
                           check=True, capture_output=True)  # fmt: skip
            block = re.sub(r"/etc/\S+(pem|key);", rf"{tmp_path}/own.\1;", block)
        else:
            block = re.sub(r" *ssl_certificate.*\n", "", block)
        user = "user root;" if os.geteuid() == 0 else ""  # its workers must write into the folder
        config = tmp_path / "nginx.conf"
        config.write_text(WHOLE.format(user=user, folder=tmp_path, server=block))
        words = ["nginx", "-p", tmp_path, "-e", tmp_path / "nginx.log", "-c", config]
        running.append(subprocess.Popen(words))
        while True:
            assert running[-1].poll() is None, (tmp_path / "nginx.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return port
            except ConnectionRefusedError:
                pass

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def stranger():
    """A browser that finds nginx under a name that is not trustworthy in itself, as localhost would be."""
    driver = chromium(
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1", f"--proxy-bypass-list={HOST}", "--ignore-certificate-errors"
    )
    yield driver
    driver.quit()


def add_step(folder, step):
    with (folder / "steps.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "reward/mean": step}) + "\n")


SLOW = [pytest.param(form, marks=pytest.mark.slow) for form in ("own host", "path passed on", "without TLS")]


@dataclass
class Proxied:
    """A service with keys behind nginx, and what its users know of it."""

    client: TestClient
    secret: str
    url: str  # as browsers know it
    local: str  # the same place, by address
    audit: Path

    @property
    def runs(self):
        return self.client.app.state.runs

    def http(self):
        return httpx.Client(base_url=self.local, headers={"Host": HOST}, verify=False, auth=("any", self.secret))


@pytest.fixture
def proxied(make_client, served, nginx, tmp_path, capsys):
    """A function: a form -> the service behind nginx in this form."""

    def start(form):
        file, (block, root), tls = tmp_path / "keys.json", server(form), form != "without TLS"
        key(["create", str(file), "ann", "--scopes", "read,generate,submit", f"--serve.folder={tmp_path}"])
        secret = capsys.readouterr().out.strip()
        client = make_client(f"--serve.root_path={root}", f'--serve.hosts=["{HOST}"]', keys=file)
        scheme, place = "https" if tls else "http", f"{nginx(block, served(client), tls)}{root}"
        url, local = f"{scheme}://{HOST}:{place}", f"{scheme}://127.0.0.1:{place}"
        return Proxied(client, secret, url, local, tmp_path / "runs/audit.jsonl")

    return start


@pytest.mark.slow
@pytest.mark.parametrize("form", ["path removed", *SLOW])
def test_a_user_with_a_key_starts_watches_and_stops_a_run(proxied, stranger, form):
    service = proxied(form)
    page, runs = Page(stranger, service.url), service.runs
    sign_in(page, service)
    page.press("nav a[href$='/start']")
    page.until(lambda: page.has("#steps"))
    page.write("#steps", "3")
    page.press("#start")
    page.until(lambda: page.text("#state .badge") == "pending")
    [record] = runs.store.newest()
    assert stranger.current_url == f"{page.url}/page/runs/{record.id}" and record.owner == "ann"
    runs.folder(record.id).mkdir()
    add_step(runs.folder(record.id), 0)
    runs.jobs.states[record.job] = "running"
    page.until(lambda: page.text("#state .badge") == "running" and page.curves() == [["Reward", 1]])
    add_step(runs.folder(record.id), 1)
    page.until(lambda: page.curves() == [["Reward", 2]])
    page.press("#stop")
    page.until(lambda: page.text("#state .badge") == "stopped")
    assert runs.store.get(record.id).state == "stopped"
    page.go(f"/page/runs/{record.id}/log")
    page.go("/docs")
    page.until(lambda: page.has(".opblock"))
    assert server(form)[1] in page.text(".servers"), "requests from here go to the root path"
    page.check_traffic()


def sign_in(page, service):
    page.refused = {401}
    page.browser.get(f"{page.url}/")
    assert not page.has("h1"), "it asks the user, in place of showing the page of the error"
    page.browser.get(page.url.replace("://", f"://any:{service.secret}@") + "/")
    page.until(lambda: service.secret not in page.browser.current_url)
    page.until(lambda: page.text("h1") == "Try a summary")


@pytest.mark.parametrize("form", ["path removed", *SLOW])
def test_programs_reach_the_service_behind_a_proxy(proxied, form):
    service = proxied(form)
    with service.http() as http:
        submitted = http.post("/runs", json={"steps": 3}, headers={"X-Forwarded-For": "203.0.113.7"})
        run = submitted.json()["id"]
        assert submitted.headers["Location"] == f"{server(form)[1]}/runs/{run}"
        assert json.loads(service.audit.read_text())["client"] == "127.0.0.1", "the client's own header is not believed"
        forged = http.post(f"/runs/{run}/stop", headers={"Sec-Fetch-Site": "cross-site"})
        assert forged.status_code == 403
        service.runs.folder(run).mkdir()
        add_step(service.runs.folder(run), 0)
        with http.stream("GET", f"/runs/{run}/events", timeout=30) as events:
            lines = (line.replace(" ", "") for line in events.iter_lines() if line.startswith("data"))
            assert '"step":0' in next(lines) and '"state"' in next(lines)
            add_step(service.runs.folder(run), 1)
            assert any('"step":1' in line for line in lines), "it is not held back until the run has ended"
    words = ["curl", "-sk", "--anyauth", "-u", f"any:{service.secret}", "-H", f"Host: {HOST}", "-w", "%{http_code}"]
    asked = subprocess.run([*words, "-o", "/dev/null", f"{service.local}/runs"], capture_output=True, text=True)
    assert asked.stdout == "200", "curl picks Basic among the challenges"


def test_the_examples_for_other_proxies_are_well_formed():
    """There is no binary of theirs to try them with."""
    caddy = [block for language, block in DOCUMENTED if language == "caddy"]
    for block in caddy:
        depth = 0
        for line in block.splitlines():
            depth += line.endswith("{") - (line.strip() == "}")
            assert line.startswith("    " * (depth - line.endswith("{"))) and line.count("{") == line.endswith("{")
        assert depth == 0 and block.startswith(f"{HOST} {{") and "reverse_proxy 127.0.0.1:8000" in block
    [traefik] = [yaml.safe_load(block) for language, block in DOCUMENTED if language == "yaml"]
    router, service = traefik["http"]["routers"]["seqrlhf"], traefik["http"]["services"]["seqrlhf"]
    assert router["service"] == "seqrlhf" and HOST in router["rule"] and len(caddy) == 2
    assert service["loadBalancer"]["servers"] == [{"url": "http://127.0.0.1:8000"}]
