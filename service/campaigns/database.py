"""The SQLite file of a campaign: opened and checked, read in snapshots, and changed in whole transactions."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import RunError

FILE = "campaign.db"
TABLES = """
create table if not exists campaign (
    one integer primary key check (one = 1),
    spec text not null,         -- CampaignConfig, as JSON
    owner text not null,        -- name of the key that created it
    created real not null,
    state text not null,        -- one of STATES
    message text not null,      -- why it failed
    done integer not null,      -- texts that have been made, of `total`
    total integer not null
);
create table if not exists completions ( -- kept while the campaign is prepared, so that it goes on after a restart
    dialogue text not null, policy text not null, seed integer not null,
    text text,                  -- null: its prompt is too long
    primary key (dialogue, policy, seed)
);
create table if not exists pairs (
    id text primary key,
    position integer not null unique, -- in the order in which they are asked
    prompt text not null, dialogue text not null,
    first text not null, second text not null, first_policy text not null, second_policy text not null,
    role text not null, expected text
);
create table if not exists questions ( -- a pair as one person has seen it
    id text primary key,        -- tells nothing
    annotator text not null,
    number integer not null,    -- of the person's questions, from 0
    pair text not null references pairs, repeat integer not null, swapped integer not null,
    shown real not null,        -- from when on its time is taken
    asked real not null,        -- when the person was last seen at it
    unique (annotator, pair, repeat), unique (annotator, number)
);
create index if not exists questions_by_pair on questions (pair);
create table if not exists answers (
    serial integer primary key autoincrement,
    question text not null unique references questions,
    outcome text not null, criteria text not null, -- both as seen on the screen
    note text not null, seconds real not null, answered real not null
);
"""


class Database:
    """A campaign's file, which one process changes and any may read. A change is on disk when its transaction ends.

    All methods raise `RunError` if the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `RunError` if the file is damaged."""
        self.file, self._lock = folder / FILE, threading.Lock()
        try:
            self._db = sqlite3.connect(self.file, timeout=10, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma secure_delete = on")  # what a person has taken back is gone
            if (found := self._db.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found.splitlines()[-1])
            self._db.executescript(TABLES)
        except sqlite3.Error as error:
            raise RunError(f"{self.file} cannot be used ({error}); restore it from a copy, or move it away") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def checkpoint(self) -> None:
        """Move all changes into the file itself, and empty the log beside it."""
        with self._lock, named_errors(self.file):
            self._db.execute("pragma wal_checkpoint(truncate)").fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of its changes are made, or none. No other runs meanwhile."""
        with self._lock, named_errors(self.file):
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            finally:
                if self._db.in_transaction:
                    self._db.execute("rollback")


@contextmanager
def named_errors(file: Path) -> Iterator[None]:
    """Errors of SQLite as `RunError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise RunError(f"the answers of {file.parent.name} cannot be read or written: {error}") from error
