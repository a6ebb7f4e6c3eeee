"""Asking and answering: what a person gets next, what the person says, and how it is taken back."""

import json
import secrets
import sqlite3
import time
from collections.abc import Callable

from configs.campaigns import CampaignConfig
from learner.seeds import seed_from
from service.campaigns.database import Database
from service.campaigns.order import LEASE, Asker
from service.campaigns.records import Answer, Progress, Question, Refused

OWN = """select q.id, q.number, q.pair, q.repeat, q.swapped, q.shown, q.asked, p.dialogue, p.first, p.second
    from questions q join pairs p on p.id = q.pair left join answers a on a.question = q.id
    where q.annotator = ? and """


class Questions:
    """The questions of an open campaign. Each method is one transaction, so that no two people get in each other's way.

    The methods raise `RunError` if the file cannot be read or written, and then nothing has changed.
    """

    def __init__(self, database: Database, spec: CampaignConfig, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970."""
        self.database, self.spec, self.clock = database, spec, clock

    def next(self, annotator: str) -> Question | None:
        """The question that the person has not answered yet, else a new one; None if there is none now."""
        with self.database.transaction() as db:
            _check_open(db)
            asker = self._asker(db, annotator)
            for row in db.execute(f"{OWN} a.serial is null order by q.number", [annotator]).fetchall():
                lapsed = row["asked"] <= asker.now - LEASE
                if lapsed and not row["repeat"] and not asker.has_room(row["pair"]):
                    continue  # it went to others meanwhile
                shown = asker.now if lapsed else row["shown"]
                db.execute("update questions set asked = ?, shown = ? where id = ?", [asker.now, shown, row["id"]])
                return _question(row)
            if chosen := asker.next():
                return self._ask(asker, *chosen)
        return None

    def answer(self, annotator: str, question: str, answer: Answer) -> bool:
        """Record an answer; False if exactly this one has been recorded before.

        Raises `KeyError` if the person was not asked this, `Refused` if there is another answer, the campaign is
        closed, or the question has gone to others since the person was asked.
        """
        with self.database.transaction() as db:
            row = _own(db, annotator, question)
            criteria = json.dumps(dict(sorted(answer.criteria.items())))
            before = db.execute("select * from answers where question = ?", [question]).fetchone()
            if before:
                if (before["outcome"], before["criteria"], before["note"]) == (answer.outcome, criteria, answer.note):
                    return False
                raise Refused("this question has another answer already; take that back first")
            _check_open(db)
            asker = self._asker(db, annotator)
            if answer.outcome != "skip" and not row["repeat"] and not asker.has_room(row["pair"]):
                raise Refused("others have answered this question meanwhile; ask for the next one")
            values = [question, answer.outcome, criteria, answer.note, max(0.0, asker.now - row["shown"]), asker.now]
            names = "question, outcome, criteria, note, seconds, answered"
            db.execute(f"insert into answers ({names}) values (?, ?, ?, ?, ?, ?)", values)
            return True

    def undo(self, annotator: str, question: str | None = None) -> Question:
        """Take the person's last answer back and ask its question again.

        Raises `Refused` if there is none, if it is not the answer to `question`, or if the campaign is closed.
        """
        with self.database.transaction() as db:
            _check_open(db)
            last = _last(db, annotator)
            if last is None:
                raise Refused("there is no answer to take back")
            if question not in (None, last):
                raise Refused("this is not your last answer; it stands")
            db.execute("delete from answers where question = ?", [last])
            db.execute("update questions set shown = ?, asked = ? where id = ?", [self.clock(), self.clock(), last])
            return _question(_own(db, annotator, last))

    def progress(self, annotator: str) -> Progress:
        """How far the person is."""
        with self.database.transaction() as db:
            asker = self._asker(db, annotator)
            count = "select count(*) from questions q left join answers a on a.question = q.id where q.annotator = ?"
            answered = db.execute(f"{count} and a.serial is not null", [annotator]).fetchone()[0]
            open = f"{count} and a.serial is null and q.asked > ?"
            begun, left = db.execute(open, [annotator, asker.now - LEASE]).fetchone()[0], asker.left()
            return Progress(answered, begun + left, _last(db, annotator), waiting=left > 0 and asker.next() is None)

    def _asker(self, db: sqlite3.Connection, annotator: str) -> Asker:
        return Asker(db, self.spec, annotator, self.clock())

    def _ask(self, asker: Asker, pair: str, repeat: int) -> Question:
        """Give the person a new question."""
        id, person = secrets.token_hex(8), asker.annotator
        swapped = seed_from("sides", self.spec.seed, person, pair, repeat) % 2
        number = "(select count(*) from questions where annotator = ?)"
        asker.db.execute(
            f"insert into questions select ?, ?, {number}, ?, ?, ?, ?, ?",
            [id, person, person, pair, repeat, swapped, asker.now, asker.now],
        )
        return _question(_own(asker.db, person, id))


def _own(db: sqlite3.Connection, annotator: str, question: str) -> sqlite3.Row:
    """A question of the person. Raises `KeyError`."""
    if row := db.execute(f"{OWN} q.id = ?", [annotator, question]).fetchone():
        return row
    raise KeyError(question)


def _last(db: sqlite3.Connection, annotator: str) -> str | None:
    """The question that the person has answered last."""
    order = "select q.id from answers a join questions q on q.id = a.question where q.annotator = ? order by a.serial"
    row = db.execute(f"{order} desc limit 1", [annotator]).fetchone()
    return row["id"] if row else None


def _question(row: sqlite3.Row) -> Question:
    first, second = (row["second"], row["first"]) if row["swapped"] else (row["first"], row["second"])
    return Question(row["id"], row["dialogue"], first, second, row["number"])


def _check_open(db: sqlite3.Connection) -> None:
    if (state := db.execute("select state from campaign").fetchone()["state"]) != "open":
        raise Refused(f"the campaign takes no answers: it is {state}")
