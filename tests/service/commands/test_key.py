"""Keys: made, listed, used, expired and revoked."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

import ray_job
from service.http import last_use
from service.http.keys import ApiKey, KeyFile, read_keys, sha256, write_keys
from service.http.last_use import LastUse
from tests.service.http.test_access import bearer


@pytest.fixture
def command(tmp_path, capsys):
    """A function: words of a command, in which FILE is a key file -> exit code and what was printed."""

    def run(*words: str) -> tuple[int, str, str]:
        words = [word.replace("FILE", str(tmp_path / "keys.json")) for word in words]
        code = ray_job.main(["key", *words, *([] if words[0] == "list" else [f"--serve.folder={tmp_path / 'runs'}"])])
        return code, *capsys.readouterr()

    run.file = tmp_path / "keys.json"
    return run


def rows(table: str) -> list[list[str]]:
    return [re.split(r"  +", line) for line in table.splitlines()]


def test_keys_are_listed_without_what_would_give_them_away(command, make_client):
    secret = command("create", "FILE", "ann")[1].strip()
    command("create", "FILE", "bob", "--scopes", "read", "--expires", "2999-01-31")
    table = command("list", "FILE")[1]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    head, ann, bob = rows(table)
    assert head == ["name", "scopes", "created", "expires", "last used"]
    assert [ann[0], ann[1], ann[2][:10], *ann[3:]] == ["ann", "read,generate", today, "-", "-"]
    assert [bob[0], bob[1], bob[2][:10], *bob[3:]] == ["bob", "read", today, "2999-01-31 00:00", "-"]
    assert secret not in table and sha256(secret)[:8] not in table
    assert make_client(keys=command.file).get("/runs", headers=bearer(secret)).status_code == 200
    assert rows(command("list", "FILE")[1])[1][4][:10] == today


@pytest.mark.parametrize(
    ("given", "days"), [("90d", 90), ("1d", 1), ("2999-01-31", None), ("2999-01-31T12:00+01:00", None)]
)
def test_a_key_expires_after_days_or_on_a_date(command, given, days):
    assert command("create", "FILE", "ann", "--expires", given)[0] == 0
    [key] = read_keys(command.file)
    end = key.created + timedelta(days=days) if days else datetime.fromisoformat(given).astimezone(UTC)
    assert abs(key.expires - end) <= timedelta(seconds=1) and not key.expired


@pytest.mark.parametrize("given", ["soon", "-3d", "0d", "d", "90", "2001-01-01", "2999-02-30", "123456d"])
def test_a_wrong_end_is_refused_and_nothing_is_made(command, given):
    code, out, err = command("create", "FILE", "ann", f"--expires={given}")
    assert (code, out) == (2, "") and err.startswith("error: --expires: ") and not command.file.exists()


def test_an_expired_key_is_refused_by_a_message_that_says_so(command, make_client):
    good = command("create", "FILE", "ann")[1].strip()
    ended = ApiKey("bob", ("read",), sha256("secret"), expires=datetime(2026, 1, 31, 12, tzinfo=UTC))
    write_keys(command.file, [*read_keys(command.file), ended])
    client = make_client(keys=command.file)
    answer = client.get("/runs", headers=bearer("secret"))
    assert answer.status_code == 401 and "Bearer" in answer.headers["WWW-Authenticate"]
    message = "the key of bob expired on 2026-01-31 12:00 UTC; ask for a new one"
    assert answer.json()["errors"] == [{"message": message}]
    assert (
        client.get("/runs", headers=bearer("another")).json()["errors"][0]["message"].startswith("missing or unknown")
    )
    assert client.get("/runs", headers=bearer(good)).status_code == 200
    assert rows(command("list", "FILE")[1])[2][4] == "-"


def test_revoking_forgets_the_key_and_an_unknown_name_is_an_error(command):
    secret = command("create", "FILE", "ann")[1].strip()
    command("create", "FILE", "bob")
    KeyFile(command.file).authenticate(f"Bearer {secret}")
    assert len(list((command.file.parent / "keys.json.used").iterdir())) == 1
    before = command.file.read_bytes()
    code, _, err = command("revoke", "FILE", "eve")
    assert code == 2 and "no key of 'eve'" in err and "ann, bob" in err and command.file.read_bytes() == before
    assert command("revoke", "FILE", "ann")[0] == 0
    assert [key.name for key in read_keys(command.file)] == ["bob"]
    assert list((command.file.parent / "keys.json.used").iterdir()) == []
    for verb in (("list", "FILE"), ("revoke", "FILE", "bob")):
        code, _, err = command(*(word.replace("FILE", "/nowhere/keys.json") for word in verb))
        assert code == 2 and "error: FILE: /nowhere/keys.json does not exist" in err


def test_keys_of_an_older_file_are_read(command):
    entry = {"name": "ann", "scopes": ["read"], "sha256": sha256("old"), "created": "2026-01-31T12:00:00+00:00"}
    command.file.write_text(json.dumps([entry]))
    assert KeyFile(command.file).authenticate("Bearer old").name == "ann"
    command.file.write_text(json.dumps([{**entry, "expires": "2027-01-31T12:00:00"}]))  # of which time zone?
    assert "expires" in command("list", "FILE")[2]


def test_last_use_is_noted_once_a_minute_and_not_in_the_key_file(command, monkeypatch):
    secret = command("create", "FILE", "ann")[1].strip()
    keys, another = KeyFile(command.file), KeyFile(command.file)
    content = command.file.stat()
    keys.authenticate(f"Bearer {secret}")
    [file] = (command.file.parent / "keys.json.used").iterdir()
    assert file.name == sha256(secret)[:16] and file.stat().st_size == 0
    early = datetime(2026, 1, 31, tzinfo=UTC)
    os.utime(file, (early.timestamp(),) * 2)
    uses, hashed = LastUse(command.file), sha256(secret)
    keys.authenticate(f"Bearer {secret}")
    assert uses.of(hashed) == early  # within the minute
    another.authenticate(f"Bearer {secret}")
    assert datetime.now(UTC) - uses.of(hashed) < timedelta(minutes=1)
    os.utime(file, (early.timestamp(),) * 2)
    monkeypatch.setattr(last_use, "INTERVAL", 0)
    keys.authenticate(f"Bearer {secret}")
    assert datetime.now(UTC) - uses.of(hashed) < timedelta(minutes=1)
    assert (command.file.stat().st_mtime_ns, command.file.stat().st_ino) == (content.st_mtime_ns, content.st_ino)


def test_requests_are_answered_where_no_use_can_be_noted(command, make_client):
    secret = command("create", "FILE", "ann")[1].strip()
    (command.file.parent / "keys.json.used").write_text("not a folder")
    assert make_client(keys=command.file).get("/runs", headers=bearer(secret)).status_code == 200
    assert rows(command("list", "FILE")[1])[1][4] == "-"


def test_keys_made_at_the_same_moment_are_all_kept(command):
    names = [f"user{number}" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda name: command("create", "FILE", name), names))
    assert sorted(key.name for key in read_keys(command.file)) == sorted(names)
