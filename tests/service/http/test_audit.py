"""Every change leaves a line that says who made it, from where, and how it ended."""

import getpass
import json
import logging
import stat
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from service.commands.key import key
from service.http.audit import AuditLog, Change
from service.http.audit_requests import MAX_BODY
from service.http.request_log import log
from service.run.lock import lock_folder
from tests.operations import Operations, watched
from tests.service.http.test_access import bearer


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs/audit.jsonl"


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def facts(file, *names):
    return [tuple(line[name] for name in names) for line in lines(file)]


def test_every_change_has_a_line(client, file):
    answer = client.post("/runs", json={"steps": 20}, headers={"X-Request-ID": "from-client.1"})
    run = answer.json()["id"]
    [line] = lines(file)
    assert datetime.now(UTC) - datetime.fromisoformat(line.pop("time")) < timedelta(minutes=1)
    assert line == {
        "who": "local", "what": "submit_run", "result": 201, "run": run, "request": '{"steps":20}',
        "client": "testclient", "request_id": "from-client.1",
    }  # fmt: skip
    folder = client.app.state.runs.folder(run)
    folder.mkdir()
    with lock_folder(folder):
        client.patch(f"/runs/{run}/workers", json={"reward": 4})
    client.post(f"/runs/{run}/stop")
    client.post(f"/runs/{run}/resume")
    found = facts(file, "what", "run", "request", "result")
    assert found[1:3] == [("scale_run", run, '{"reward":4}', 202), ("stop_run", run, "", 202)]
    assert found[3][:2] == ("resume_run", run) and found[3][3] in (202, 409)  # the run may not have stopped yet
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_changes_nothing_has_none(client, file):
    run = client.post("/runs", json={}).json()["id"]
    for path in ("/runs", f"/runs/{run}", f"/runs/{run}/steps", "/presets", "/models", "/metrics", "/health"):
        assert client.get(path).status_code == 200 and client.head(path).status_code == 200
    client.post("/scores", json={"texts": ["a"]})
    assert facts(file, "what") == [("submit_run",)]


def test_refused_attempts_have_a_line_too(make_client, keys, file):
    client = make_client("--serve.limits.runs=1", keys=keys[0])
    before = lines(file)  # of the keys
    submit, read = bearer(keys[1]["submit"]), bearer(keys[1]["read"])
    ask = {"json": {}, "headers": submit}
    run = client.post("/runs", **ask, timeout=9).json()["id"]
    client.post("/runs", **ask)
    client.post("/runs", json={"steps": 0}, headers=submit)
    client.patch(f"/runs/{run}/workers", json={"reward": 1}, headers=submit)
    client.post(f"/runs/{run}/stop", headers=read)
    client.post("/runs/0123456789ab/stop", headers=submit)
    expected = [("submit", "submit_run", 201, run), ("submit", "submit_run", 429, ""),
                ("submit", "submit_run", 422, ""), ("submit", "scale_run", 409, run), ("read", "stop_run", 403, run),
                ("submit", "stop_run", 404, "0123456789ab")]  # fmt: skip
    assert facts(file, "who", "what", "result", "run")[len(before) :] == expected
    client.post("/runs", json={})
    client.post("/runs", json={}, headers=bearer("unknown"))
    assert len(lines(file)) == len(before) + len(expected), "without a key, anybody could fill the disk"


def test_an_unexpected_error_has_a_line(client, file, monkeypatch):
    monkeypatch.setattr(client.app.state.runs.presets, "make_config", None)
    assert client.post("/runs", json={}).status_code == 500
    assert facts(file, "what", "result") == [("submit_run", 500)]


def test_no_body_is_kept_whole_or_forges_a_line(client, file):
    forged = '{"base":\n"x", "\u202e": "\\u001b[31m"}\n'
    client.post(
        "/runs", content=b'{"base": "' + b"x" * 3 * MAX_BODY + b'"}', headers={"Content-Type": "application/json"}
    )
    client.post("/runs", content=forged.encode(), headers={"Content-Type": "application/json"})
    first, second = facts(file, "request")
    assert first[0].startswith('{"base": "xxx') and len(first[0]) == MAX_BODY
    assert second[0] == forged and file.read_text().isascii()


def test_the_address_is_the_client_s_and_a_forwarded_one_only_from_a_trusted_proxy(client, served, file):
    url = f"{served(client)}/runs/0123456789ab/stop"
    for own in ("127.0.0.1", "127.0.0.2"):  # uvicorn trusts the first
        with httpx.Client(transport=httpx.HTTPTransport(local_address=own)) as sender:
            sender.post(url)
            sender.post(url, headers={"X-Forwarded-For": "203.0.113.7"})
    assert facts(file, "client") == [("127.0.0.1",), ("203.0.113.7",), ("127.0.0.2",), ("127.0.0.2",)]


def test_keys_that_are_created_or_revoked_have_a_line(tmp_path, file, capsys):
    keys, folder = str(tmp_path / "keys.json"), f"--serve.folder={file.parent}"
    key(["create", keys, "early", folder])
    assert not file.parent.exists(), "it makes no folder that the service could then not write to"
    file.parent.mkdir()
    capsys.readouterr()
    key(["create", keys, "ann", "--expires", "2999-01-31", folder])
    secret = capsys.readouterr().out.strip()
    key(["revoke", keys, "ann", folder])
    user = getpass.getuser()
    assert facts(file, "who", "what", "request", "result") == [
        (user, "create_key", "ann: read,generate, expires 2999-01-31 00:00 UTC", "done"),
        (user, "revoke_key", "ann", "done"),
    ]
    assert secret not in file.read_text()


def test_the_log_has_each_line(client, caplog):
    with caplog.at_level(logging.INFO, logger=log.name):
        run = client.post("/runs", json={}).json()["id"]
    [record] = [record for record in caplog.records if record.msg == "audit"]
    assert (record.who, record.what, record.run, record.result) == ("local", "submit_run", run, 201)


def test_changes_stand_and_reads_work_where_the_file_cannot_be_written(client, file, caplog):
    file.symlink_to("/dev/full")
    with caplog.at_level(logging.ERROR, logger=log.name):
        run = client.post("/runs", json={}).json()["id"]
        assert client.post(f"/runs/{run}/stop").status_code == 202 and client.get("/runs").json()["total"] == 1
    assert [(record.levelname, record.what) for record in caplog.records] == [
        ("ERROR", "submit_run"),
        ("ERROR", "stop_run"),
    ]
    assert "No space left on device" in caplog.records[0].getMessage()


@pytest.mark.parametrize("act", ["full", "short"])
def test_a_line_that_cannot_be_written_whole_spoils_no_other(file, act):
    audit = AuditLog(file.parent)
    for at in range(5):
        with watched(Operations(act, at)):
            audit.add(Change("ann", "stop_run", at))
        audit.add(Change("bob", "stop_run", at))
    found = facts(file, "who", "result")
    assert [result for who, result in found if who == "bob"] == list(range(5)) and len(found) < 10


def test_lines_of_many_writers_stay_whole(file):
    def write(who):
        audit = AuditLog(file.parent)
        for number in range(25):
            audit.add(Change(who * 500, "stop_run", number))

    threads = [threading.Thread(target=write, args=(who,)) for who in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(facts(file, "who", "result")) == [(who * 500, n) for who in "abcdefgh" for n in range(25)]
