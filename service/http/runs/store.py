"""The record of runs that were asked for over HTTP: a table in SQLite that outlives the service."""

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUEUED = "queued"
ENDED = ("succeeded", "failed", "stopped", "interrupted")
STATES = (QUEUED, "pending", "running", *ENDED)
TABLE = """
create table if not exists runs (
    id text primary key,
    created real not null,
    owner text not null,        -- name of the key
    token text,                 -- what makes a submission idempotent, of the owner's choice
    base text not null,         -- preset
    steps integer not null,     -- that it is to have
    policy text not null,       -- model that it trains
    request text not null,      -- the body, as JSON
    state text not null,
    attempt integer not null,   -- jobs begun for it
    message text not null,      -- why it failed
    unique (owner, token)
)
"""


@dataclass(frozen=True)
class Record:
    """One run."""

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
        """Whether nothing more comes of it by itself."""
        return self.state in ENDED

    @property
    def job(self) -> str:
        """Name of its newest Ray job."""
        return f"{self.id}-{self.attempt}"


class Registry:
    """The table. Every change is on the disk when the call returns."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(TABLE)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, new: Record, most: int) -> bool:
        """A new run, unless `most` are waiting or at work already. Raises `KeyError` where its token was used."""
        unended = f"select count(*) from runs where state not in {ENDED}"
        values = {**vars(new), "request": json.dumps(new.request)}
        names, places = ", ".join(values), ", ".join("?" * len(values))
        insert = f"insert into runs ({names}) select {places} where ({unended}) < ?"
        try:
            return bool(self._do(insert, *values.values(), most).rowcount)
        except sqlite3.IntegrityError as error:
            raise KeyError(new.token) from error

    def get(self, id: str) -> Record:
        """Raises `KeyError` where there is no such run."""
        return self._one("id = ?", id)

    def by_token(self, owner: str, token: str) -> Record:
        """The run that was asked for with this token. Raises `KeyError`."""
        return self._one("owner = ? and token = ?", owner, token)

    def newest(self, limit: int = -1, offset: int = 0) -> list[Record]:
        """The newest first; all, or `limit` of them after `offset`."""
        return self._select("true order by created desc limit ? offset ?", limit, offset)

    def unended(self) -> list[Record]:
        """Those that are to be followed."""
        return self._select(f"state not in {ENDED} order by created")

    def change(self, record: Record, state: str, message: str = "", attempt: int | None = None) -> bool:
        """Put the record into another state, unless somebody else did meanwhile."""
        values = (state, message, attempt or record.attempt, record.id, record.state, record.attempt)
        where = "id = ? and state = ? and attempt = ?"
        return bool(self._do(f"update runs set state = ?, message = ?, attempt = ? where {where}", *values).rowcount)

    def _one(self, where: str, *values: Any) -> Record:
        found = self._select(where, *values)
        if not found:
            raise KeyError(values[-1])
        return found[0]

    def _select(self, where: str, *values: Any) -> list[Record]:
        with self._lock, closing(self._db.execute(f"select * from runs where {where}", values)) as cursor:
            rows = cursor.fetchall()
        return [Record(**{**dict(row), "request": json.loads(row["request"])}) for row in rows]

    def _do(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._lock:
            return self._db.execute(statement, values)
