"""The service with keys behind nginx as docs/proxies.md configures it, in a browser that knows it by another name."""

import json
import os
import re
import shutil
import socket
import subprocess

import httpx
import pytest
import yaml

from service.commands.key import key
from tests.conftest import ROOT, chromium
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


@pytest.mark.parametrize("form", ["path removed", *SLOW])
def test_a_user_with_a_key_starts_watches_and_stops_a_run(make_client, served, nginx, stranger, tmp_path, capsys, form):
    key(
        ["create", str(tmp_path / "keys.json"), "ann", "--scopes", "read,generate,submit", f"--serve.folder={tmp_path}"]
    )
    secret = capsys.readouterr().out.strip()
    (block, root), tls = server(form), form != "without TLS"
    client = make_client(f"--serve.root_path={root}", f'--serve.hosts=["{HOST}"]', keys=tmp_path / "keys.json")
    runs = client.app.state.runs
    port = nginx(block, served(client), tls)
    scheme, place = "https" if tls else "http", f"{HOST}:{port}{root}"
    page = Page(stranger, f"{scheme}://{place}")
    page.refused = {401}
    stranger.get(f"{page.url}/")
    assert not page.has("h1"), "it asks the user, in place of showing the page of the error"

    stranger.get(f"{scheme}://any:{secret}@{place}/")
    page.until(lambda: secret not in stranger.current_url)
    page.until(lambda: page.text("h1") == "Try a summary")
    page.press("nav a[href$='/start']")
    page.until(lambda: page.has("#steps"))
    page.write("#steps", "3")
    page.press("#start")
    page.until(lambda: page.text("#state .badge") == "pending")
    [record] = runs.store.newest()
    assert stranger.current_url == f"{page.url}/page/runs/{record.id}" and record.owner == "ann"

    folder = runs.folder(record.id)
    folder.mkdir()
    add_step(folder, 0)
    runs.jobs.states[record.job] = "running"
    page.until(lambda: page.text("#state .badge") == "running" and page.curves() == [["Reward", 1]])
    with httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}{root}", verify=False, auth=("any", secret)) as http:
        with http.stream("GET", f"/runs/{record.id}/events", headers={"Host": HOST}, timeout=30) as events:
            lines = (line for line in events.iter_lines() if line.startswith("data"))
            assert '"step":0' in next(lines).replace(" ", "") and '"running"' in next(lines)
            add_step(folder, 1)
            assert '"step":1' in next(lines).replace(" ", ""), "it is not held back until the run has ended"
        if tls:
            forged = http.post(f"/runs/{record.id}/stop", headers={"Host": HOST, "Sec-Fetch-Site": "cross-site"})
            assert forged.status_code == 403
        submitted = http.post("/runs", json={"steps": 3}, headers={"Host": HOST})
        assert submitted.headers["Location"] == f"{root}/runs/{submitted.json()['id']}"
    words = [
        "curl",
        "-sk",
        "--anyauth",
        "-u",
        f"any:{secret}",
        "-H",
        f"Host: {HOST}",
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
    ]
    asked = subprocess.run([*words, f"{scheme}://127.0.0.1:{port}{root}/runs"], capture_output=True, text=True)
    assert asked.stdout == "200", "curl picks Basic among the challenges"
    page.until(lambda: page.curves() == [["Reward", 2]])
    page.press("#stop")
    page.until(lambda: page.text("#state .badge") == "stopped")
    assert runs.store.get(record.id).state == "stopped"
    page.go(f"/page/runs/{record.id}/log")
    page.go("/docs")
    page.until(lambda: page.has(".opblock"))
    assert page.text(".servers") if root else True
    page.check_traffic()


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
