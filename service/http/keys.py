"""API keys: a file with the hash, name, scopes and end of each. A key itself is printed once and stored nowhere.

A key is 256 random bits, too many to be guessed, so a plain SHA-256 suffices where a password would need a slow hash.
"""

import fcntl
import hashlib
import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError

from configs.errors import UsageError
from configs.installation import COMMAND
from learner.atomic_files import replace_file
from service.http.last_use import LastUse

SCOPES = ("read", "generate", "annotate", "submit")
"""View runs and campaigns; request summaries and scores; compare summaries in campaigns; start and change runs, create
and close campaigns, and export what people said."""


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class ApiKey:
    """A key as the file holds it."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    name: str
    scopes: tuple[str, ...]
    sha256: str = ""
    created: AwareDatetime = field(default_factory=_now)
    expires: AwareDatetime | None = None

    @property
    def expired(self) -> bool:
        """True once the key is no longer valid."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


LOCAL_KEY = ApiKey("local", SCOPES)
"""Stands for every request to a service without keys, which listens on loopback addresses only."""
FORMAT = TypeAdapter(list[ApiKey])


class InvalidKey(Exception):
    """A request's key is missing, unknown or expired."""


class KeyFile:
    """The keys of a file. Changes of the file apply from the next request on."""

    def __init__(self, file: Path | None) -> None:
        """Raises `UsageError` if the file cannot be read or holds no key; None: a service without keys."""
        self.file, self._modified, self._keys = file, -1, {}
        self._last_use = LastUse(file) if file else None
        if file and not self._load():
            raise UsageError(f"serve.keys: {file} holds no key; create one: {COMMAND} key create {file} NAME")

    def authenticate(self, authorization: str | None) -> ApiKey:
        """The key of an Authorization header: `Bearer KEY`, or `Basic` as browsers send it, with the key as password.

        Raises `InvalidKey`.
        """
        if self.file is None:
            return LOCAL_KEY
        secret = _secret(authorization or "")
        # The lookup is by hash, so its timing reveals nothing about the keys.
        key = self._load().get(sha256(secret)) if secret else None
        if key is None:
            raise InvalidKey("missing or unknown key; send Authorization: Bearer KEY")
        if key.expired:
            raise InvalidKey(f"the key of {key.name} expired on {key.expires:%Y-%m-%d %H:%M %Z}; ask for a new one")
        self._last_use.note(key.sha256)
        return key

    def holds(self, key: ApiKey) -> bool:
        """True while the key is neither revoked nor expired. Raises `UsageError` if the file cannot be read."""
        return self.file is None or (key.sha256 in self._load() and not key.expired)

    def _load(self) -> dict[str, ApiKey]:
        try:
            modified = self.file.stat().st_mtime_ns
            if modified != self._modified:
                self._keys = {key.sha256: key for key in read_keys(self.file)}
                self._modified = modified
        except OSError as error:
            raise UsageError(f"serve.keys: {self.file} cannot be read: {error}") from error
        return self._keys


def read_keys(file: Path) -> list[ApiKey]:
    """All keys of a file. Raises `UsageError` if it is not a key file."""
    try:
        return FORMAT.validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"serve.keys: {file} is not a key file: {where and f'{where}: '}{first['msg']}") from error


@contextmanager
def editing(file: Path) -> Iterator[None]:
    """Keep other processes from changing the keys of a file between reading and writing them."""
    with Path(f"{file}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_keys(file: Path, keys: list[ApiKey]) -> None:
    """Replace the keys of a file."""
    mask = os.umask(0o077)  # readable by its owner only, from the first byte on
    try:
        replace_file(file, FORMAT.dump_json(keys, indent=2))
    finally:
        os.umask(mask)


def sha256(secret: str) -> str:
    """Hash under which the file holds a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _secret(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
