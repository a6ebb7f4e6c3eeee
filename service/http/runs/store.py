"""Records of the runs that were submitted over HTTP: an SQLite table that outlives the service."""

import json
import math
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
)
"""


@dataclass(frozen=True)
class RunRecord:
    """A row of the table of runs; TABLE explains its columns."""

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
    """Table of run records. Every change is on disk when the call returns."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(TABLE)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, new: RunRecord, limit: int) -> bool:
        """Add a run; False if `limit` runs have not ended yet. Raises `KeyError` if its token was used before."""
        unended = f"select count(*) from runs where state not in {ENDED}"
        values = {**vars(new), "request": json.dumps(new.request)}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        insert = f"insert into runs ({names}) select {marks} where ({unended}) < ?"
        try:
            return bool(self._do(insert, *values.values(), limit).rowcount)
        except sqlite3.IntegrityError as error:
            raise KeyError(new.token) from error

    def get(self, id: str) -> RunRecord:
        """The run with this id. Raises `KeyError`."""
        return self._one("id = ?", id)

    def by_token(self, owner: str, token: str) -> RunRecord:
        """The run that this owner submitted with this token. Raises `KeyError`."""
        return self._one("owner = ? and token = ?", owner, token)

    def newest(self, limit: int = -1, offset: int = 0) -> list[RunRecord]:
        """Runs, newest first: `limit` of them (-1: all) after the first `offset`."""
        return self._select("true order by created desc, id desc limit ? offset ?", limit, offset)

    def page(self, limit: int, before: tuple[float, str] | None = None, state: str | None = None) -> list[RunRecord]:
        """`limit` runs, newest first: those before a time and an id, and in one state, if these are given."""
        where = "(created, id) < (?, ?) and state = ifnull(?, state) order by created desc, id desc limit ?"
        return self._select(where, *(before or (math.inf, "")), state, limit)

    def count(self, state: str | None = None) -> int:
        """Number of runs: of all, or of those in one state."""
        return self._do("select count(*) from runs where state = ifnull(?, state)", state).fetchone()[0]

    def unended(self) -> list[RunRecord]:
        """Runs that have not ended, oldest first."""
        return self._select(f"state not in {ENDED} order by created")

    def change(self, record: RunRecord, state: str, message: str = "", attempt: int | None = None) -> bool:
        """Change the state of a run; False if the stored state or attempt differs from `record`'s."""
        values = (state, message, attempt or record.attempt, record.id, record.state, record.attempt)
        where = "id = ? and state = ? and attempt = ?"
        return bool(self._do(f"update runs set state = ?, message = ?, attempt = ? where {where}", *values).rowcount)

    def _one(self, where: str, *values: Any) -> RunRecord:
        found = self._select(where, *values)
        if not found:
            raise KeyError(values[-1])
        return found[0]

    def _select(self, where: str, *values: Any) -> list[RunRecord]:
        with self._lock, closing(self._db.execute(f"select * from runs where {where}", values)) as cursor:
            rows = cursor.fetchall()
        return [RunRecord(**{**dict(row), "request": json.loads(row["request"])}) for row in rows]

    def _do(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._lock:
            return self._db.execute(statement, values)
