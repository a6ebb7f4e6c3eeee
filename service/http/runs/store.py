"""Records of the runs that were submitted over HTTP: an SQLite table that outlives the service."""

import json
import math
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from configs.errors import RunError, UsageError
from service.http.runs.paths import RunPaths
from service.run.lock import lock_folder

QUEUED = "queued"
ENDED = ("succeeded", "failed", "stopped", "interrupted")
STATES = (QUEUED, "pending", "running", *ENDED)
TABLES = """
create table if not exists runs (
    id text primary key,
    created real not null,
    owner text not null,        -- name of the key that submitted it
    token text,                 -- Idempotency-Key, chosen by the owner
    base text not null,         -- preset
    steps integer not null,     -- steps in all
    policy text not null,       -- model that it trains
    request text not null,      -- body of the request, as JSON
    state text not null,
    attempt integer not null,   -- number of its newest Ray job, from 1
    message text not null,      -- why it failed or has not started
    unique (owner, token)
);
create table if not exists service (
    one integer primary key check (one = 1),
    name text not null,         -- tells the services of a cluster apart
    checked integer not null    -- changed to see whether the disk takes changes
);
"""

SAME = "id = ? and state = ? and attempt = ?"
UNENDED = f"select count(*) from runs where owner = ? and state not in {ENDED}"


@dataclass(frozen=True)
class RunRecord:
    """A row of the table of runs; TABLES explains its columns."""

    id: str
    created: float
    owner: str
    token: str | None
    base: str
    steps: int
    policy: str
    request: dict[str, Any]
    state: str = QUEUED  # or pending, running, or one of ENDED
    attempt: int = 1
    message: str = ""

    @property
    def ended(self) -> bool:
        """True for a run that has finished, failed or was stopped; all but a finished one can be resumed."""
        return self.state in ENDED

    @property
    def job(self) -> str:
        """Name of the newest Ray job."""
        return f"{self.id}-{self.attempt}"


class RunStore:
    """Table of run records, in a folder that it locks. Every change is on disk when the call returns.

    All methods raise `RunError` if the file cannot be read or written.
    """

    def __init__(self, paths: RunPaths) -> None:
        """Raises `UsageError` if another service uses the folder, `RunError` if the records are damaged."""
        paths.requests.mkdir(parents=True, exist_ok=True)
        self.paths, self._lock = paths, threading.Lock()
        try:
            self._folder_lock = lock_folder(paths.root)
        except UsageError as error:
            raise UsageError(f"serve.folder: {error}") from error
        try:
            self._db = sqlite3.connect(paths.database, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("pragma journal_mode = wal")
            if (found := self._db.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            self._db.executescript(TABLES)
            self._db.execute("insert or ignore into service values (1, ?, 0)", [secrets.token_hex(4)])
        except sqlite3.Error as error:
            self._folder_lock.close()
            raise RunError(
                f"{paths.database}: the records of runs cannot be used ({error}); restore the file from a copy, or "
                "move it away to start without records: the runs' folders beside it are not affected"
            ) from error

    def close(self) -> None:
        """Close the file and unlock the folder."""
        self._db.close()
        self._folder_lock.close()

    def check(self) -> None:
        """Raises `RunError` if records can no longer be read or changed."""
        self.unended()
        self._do("update service set checked = 1 - checked")

    @property
    def name(self) -> str:
        """Name that tells this service from others on its cluster; it stays with the folder."""
        return self._rows("select name from service")[0]["name"]

    def add(self, new: RunRecord, limit: int) -> bool:
        """Add a run; False if its owner has `limit` runs that have not ended, or used its token before."""
        values = {**vars(new), "request": json.dumps(new.request)}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        insert = f"insert into runs ({names}) select {marks} where ({UNENDED}) < ?"
        try:
            return bool(self._do(insert, *values.values(), new.owner, limit).rowcount)
        except sqlite3.IntegrityError:
            return False

    def get(self, id: str) -> RunRecord:
        """The run with this id. Raises `KeyError`."""
        for record in self._select("id = ?", id):
            return record
        raise KeyError(id)

    def by_token(self, owner: str, token: str) -> RunRecord | None:
        """The run that this owner submitted with this token, if there is one."""
        return next(iter(self._select("owner = ? and token = ?", owner, token)), None)

    def newest(self, limit: int = -1) -> list[RunRecord]:
        """Runs, newest first: `limit` of them, or all (-1)."""
        return self._select("true order by created desc, id desc limit ?", limit)

    def page(self, limit: int, before: tuple[float, str] | None = None, state: str | None = None) -> list[RunRecord]:
        """`limit` runs, newest first: those before a time and an id, and in one state, if these are given."""
        where = "(created, id) < (?, ?) and state = ifnull(?, state) order by created desc, id desc limit ?"
        return self._select(where, *(before or (math.inf, "")), state, limit)

    def count(self, state: str | None = None) -> int:
        """Number of runs: of all, or of those in one state."""
        return self._rows("select count(*) from runs where state = ifnull(?, state)", state)[0][0]

    def unended(self) -> list[RunRecord]:
        """Runs that have not ended, oldest first."""
        return self._select(f"state not in {ENDED} order by created")

    def change(self, record: RunRecord, state: str, message: str = "") -> bool:
        """Change the state of a run; False if the stored state or attempt differs from `record`'s."""
        values = (state, message, record.id, record.state, record.attempt)
        return bool(self._do(f"update runs set state = ?, message = ? where {SAME}", *values).rowcount)

    def queue_again(self, record: RunRecord, limit: int) -> bool:
        """Queue a run's next attempt; as `change`, and False if its owner has `limit` runs that have not ended."""
        values = (QUEUED, record.id, record.state, record.attempt, record.owner, limit)
        where = f"{SAME} and ({UNENDED}) < ?"
        change = f"update runs set state = ?, message = '', attempt = attempt + 1 where {where}"
        return bool(self._do(change, *values).rowcount)

    def _select(self, where: str, *values: Any) -> list[RunRecord]:
        rows = self._rows(f"select * from runs where {where}", *values)
        try:
            return [RunRecord(**{**dict(row), "request": json.loads(row["request"])}) for row in rows]
        except (ValueError, TypeError) as error:
            raise RunError(f"the records of runs are damaged: {error}") from error

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._access(), closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchall()

    def _do(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._access():
            return self._db.execute(statement, values)

    @contextmanager
    def _access(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise RunError(f"the records of runs cannot be read or written: {error}") from error
