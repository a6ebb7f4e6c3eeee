"""Which pair a person is asked next: a repeat that is due, a pair with a known answer, or one that lacks answers."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from configs.campaigns import CampaignConfig
from learner.seeds import seed_from

LEASE = 600.0
"""Seconds for which a pair is kept for a person who was asked; afterwards others may get it."""
GAP = 5
"""Questions of the person that lie between a pair and its repeat, at least; at most twice as many."""
BLOCK = 4
"""Questions of which one is a pair with a known answer, until the person has had all of them."""
ANSWERED = """(select count(*) from questions q join answers a on a.question = q.id
    where q.pair = p.id and q.repeat = 0 and q.annotator != :annotator and a.outcome != 'skip')"""
AT_WORK = """(select count(*) from questions q left join answers a on a.question = q.id
    where q.pair = p.id and q.repeat = 0 and q.annotator != :annotator and a.serial is null and q.asked > :since)"""
UNSEEN = "not exists (select 1 from questions q where q.pair = p.id and q.annotator = :annotator)"
ASKED = "role != 'qualification'"


@dataclass(frozen=True)
class Asker:
    """Chooses questions for a person, within a transaction."""

    db: sqlite3.Connection
    spec: CampaignConfig
    annotator: str
    now: float

    @property
    def values(self) -> dict[str, object]:
        """Parameters of the SQL above."""
        return {"annotator": self.annotator, "since": self.now - LEASE, "wanted": self.spec.answers_per_pair}

    def next(self) -> tuple[str, int] | None:
        """The pair to ask next, and 1 if it is a repeat; None if there is none for this person."""
        seen = self.db.execute(
            "select q.pair, q.repeat, q.number, a.outcome, p.role from questions q join pairs p on p.id = q.pair "
            "left join answers a on a.question = q.id where q.annotator = ? order by q.number",
            [self.annotator],
        ).fetchall()
        number = len(seen)
        if pair := self._due_repeat(seen, number):
            return pair, 1
        known = self._pairs("role = 'qualification'")
        if known and number % BLOCK == self._drawn("place", number // BLOCK) % BLOCK:
            return self._one_of(known, number), 0
        if open := self._pairs(f"{ASKED} and {ANSWERED} + {AT_WORK} < :wanted", f"{AT_WORK} > 0, position limit 1"):
            return open[0], 0
        return (self._one_of(known, number), 0) if known else None

    def has_room(self, pair: str) -> bool:
        """True while the pair lacks answers that no one else is at."""
        where = f"p.id = :pair and ({ANSWERED} + {AT_WORK} < :wanted or role = 'qualification')"
        return bool(self._count(where, pair=pair))

    def left(self) -> int:
        """Number of pairs that this person could still be asked, without repeats."""
        return self._count(f"{UNSEEN} and (role = 'qualification' or {ANSWERED} < :wanted)")

    def _due_repeat(self, seen: Sequence[sqlite3.Row], number: int) -> str | None:
        asked_again = {row["pair"] for row in seen if row["repeat"]}
        for row in seen:
            can_be = row["outcome"] not in (None, "skip") and row["role"] != "qualification"
            if row["repeat"] or not can_be or row["pair"] in asked_again:
                continue
            planned = self._drawn("repeat", row["pair"]) < self.spec.repeats * 2**63
            if planned and number - row["number"] > GAP + self._drawn("gap", row["pair"]) % (GAP + 1):
                return row["pair"]
        return None

    def _one_of(self, pairs: Sequence[str], number: int) -> str:
        return pairs[self._drawn("known", number) % len(pairs)]

    def _pairs(self, where: str, order: str = "position") -> list[str]:
        rows = self.db.execute(f"select p.id from pairs p where {UNSEEN} and {where} order by {order}", self.values)
        return [row["id"] for row in rows]

    def _count(self, where: str, **more: object) -> int:
        return self.db.execute(f"select count(*) from pairs p where {where}", self.values | more).fetchone()[0]

    def _drawn(self, *coordinates: int | str) -> int:
        return seed_from("campaign", self.spec.seed, self.annotator, *coordinates)
