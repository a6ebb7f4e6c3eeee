"""Keys of the service: who may do what. A key is shown once and kept as a hash.

A key is 256 random bits, which nobody finds by trying: a plain hash does, where a password would need a slow one.
"""

import argparse
import hashlib
import json
import os
import secrets
from base64 import b64decode
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from configs.errors import UsageError
from learner.atomic_files import replace_file

SCOPES = ("read", "generate", "annotate", "submit")
"""See runs; ask for summaries and scores; judge summaries; begin, stop, resume and scale runs."""


@dataclass(frozen=True)
class Holder:
    """Who a key belongs to."""

    name: str
    scopes: tuple[str, ...]
    sha256: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


EVERYBODY = Holder("local", SCOPES)
"""Whoever is on this machine, where no keys are set."""


class Keys:
    """The holders in a file; a change of the file counts from the next request on."""

    def __init__(self, file: Path | None) -> None:
        """Raises `UsageError` where the file cannot be read, or holds no key."""
        self.file, self._changed, self._holders = file, -1, {}
        if file and not self._read():
            raise UsageError(f"serve.keys: {file} holds no key; make one: python ray_job.py key {file} NAME")

    def holder(self, authorization: str | None) -> Holder | None:
        """Who sends this header: `Bearer KEY`, or as browsers do `Basic`, the key being the password."""
        if self.file is None:
            return EVERYBODY
        key = _key(authorization or "")
        # Found by its hash: how long that takes tells nothing of a key.
        return self._read().get(_sha256(key)) if key else None

    def _read(self) -> dict[str, Holder]:
        try:
            changed = self.file.stat().st_mtime_ns
            if changed != self._changed:
                self._holders = {holder.sha256: holder for holder in read_holders(self.file)}
                self._changed = changed
        except OSError as error:
            raise UsageError(f"serve.keys: {self.file} cannot be read: {error}") from error
        return self._holders


def read_holders(file: Path) -> list[Holder]:
    """All holders of a file. Raises `UsageError` where it is no file of keys."""
    try:
        return [Holder(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in json.loads(file.read_bytes())]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"serve.keys: {file} is no file of keys: {error}") from error


def _key(authorization: str) -> str:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def key(arguments: list[str]) -> None:
    """`ray_job.py key FILE NAME`: make a key and print it, or take one back. Raises `UsageError`."""
    parser = argparse.ArgumentParser("ray_job.py key", description="Make a key for the service, or take one back.")
    parser.add_argument("file", type=Path, help="file with the hashes, made where it is not there")
    parser.add_argument("name", help="who the key is for")
    parser.add_argument("--scopes", default="read,generate", help=f"some of {','.join(SCOPES)} (default: %(default)s)")
    parser.add_argument("--revoke", action="store_true", help="take back all keys of that name")
    given = parser.parse_args(arguments)
    holders = read_holders(given.file) if given.file.exists() else []
    if given.revoke:
        _write(given.file, [holder for holder in holders if holder.name != given.name])
        return
    scopes = tuple(given.scopes.split(","))
    if wrong := set(scopes) - set(SCOPES):
        raise UsageError(f"--scopes: no scope {min(wrong)!r}; scopes are {', '.join(SCOPES)}")
    new = secrets.token_urlsafe(32)
    _write(given.file, [*holders, Holder(given.name, scopes, _sha256(new))])
    print(new)


def _write(file: Path, holders: list[Holder]) -> None:
    mask = os.umask(0o077)  # for its owner alone, from the first byte on
    try:
        replace_file(file, json.dumps([asdict(holder) for holder in holders], indent=2).encode())
    finally:
        os.umask(mask)
