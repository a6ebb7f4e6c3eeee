"""A campaign on disk: its record, its pairs, the completions that it is made of, and what people said."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from configs.campaigns import CampaignConfig
from configs.errors import RunError, UsageError
from learner.seeds import seed_from
from service.campaigns.database import FILE, Database, named_errors
from service.campaigns.records import Pair, Record, Refused, State, turned
from workers.preferences.judgements import Judgement, Role

PAIR = tuple(Pair.__dataclass_fields__)
JUDGED = f"""select q.pair, q.annotator, q.swapped, q.repeat, a.outcome, a.criteria, a.note, a.seconds,
    {", ".join(PAIR)} from answers a join questions q on q.id = a.question join pairs p on p.id = q.pair
    order by a.serial"""


class CampaignStore:
    """A campaign's folder. Every change is on disk when the call returns.

    All methods raise `RunError` if the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `RunError` if the file is damaged."""
        self.folder, self.database = folder, Database(folder)

    @classmethod
    def create(cls, folder: Path, record: Record) -> "CampaignStore":
        """A new campaign in a folder, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        store = cls(folder)
        values = [record.spec.model_dump_json(), record.owner, record.created, record.state]
        with store.database.transaction() as db:
            db.execute("insert into campaign values (1, ?, ?, ?, ?, '', 0, 0)", values)
        return store

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def record(self) -> Record:
        """The campaign. Raises `KeyError` if its service was killed before it was recorded."""
        with self.database.transaction() as db:
            row = db.execute("select * from campaign").fetchone()
        if row is None:
            raise KeyError(self.folder.name)
        try:
            spec = CampaignConfig.model_validate_json(row["spec"])
        except ValidationError as error:
            raise RunError(f"{self.folder / FILE}: the settings of the campaign are damaged: {error}") from error
        values = {name: row[name] for name in ("owner", "created", "state", "message", "done", "total")}
        return Record(self.folder.name, spec, **values)

    def change(self, before: State, state: State, message: str = "") -> bool:
        """Change the state; False if the stored one is not `before`."""
        with self.database.transaction() as db:
            changed = db.execute("update campaign set state = ?, message = ? where state = ?", [state, message, before])
            return bool(changed.rowcount)

    def completions(self) -> dict[tuple[str, str, int], str | None]:
        """The texts made so far, by dialogue, policy and sample; None where the prompt is too long."""
        with self.database.transaction() as db:
            return {tuple(row)[:3]: row["text"] for row in db.execute("select * from completions")}

    def keep(self, made: dict[tuple[str, str, int], str | None], done: int, total: int) -> None:
        """Keep texts, in case that the service is killed before all are made, and note how many there are.

        Raises `Refused` if the campaign was closed meanwhile.
        """
        with self.database.transaction() as db:
            db.executemany("insert or replace into completions values (?, ?, ?, ?)", [(*k, t) for k, t in made.items()])
            noted = db.execute("update campaign set done = ?, total = ? where state = 'preparing'", [done, total])
            if not noted.rowcount:
                raise Refused("the campaign was closed while it was prepared")

    def open(self, pairs: Sequence[Pair], seed: int) -> bool:
        """Store the pairs, in an order drawn by the seed, and take answers; False if it was closed meanwhile."""
        order = sorted(range(len(pairs)), key=lambda i: seed_from("order", seed, i))
        rows = [
            (f"{seed_from('pair', seed, self.folder.name, i):016x}", place, *(getattr(pairs[i], name) for name in PAIR))
            for place, i in enumerate(order)
        ]
        with self.database.transaction() as db:
            if not db.execute("update campaign set state = 'open' where state = 'preparing'").rowcount:
                return False
            names = ", ".join(("id", "position", *PAIR))
            db.executemany(f"insert into pairs ({names}) values ({', '.join('?' * len(rows[0]))})", rows)
            db.execute("delete from completions")
            return True

    def filled(self) -> dict[Role, tuple[int, int]]:
        """By role, the number of pairs and of answers to them, without skips and repeats."""
        count = """select p.role, count(distinct p.id) as pairs, count(a.serial) as answers from pairs p
            left join questions q on q.pair = p.id and q.repeat = 0
            left join answers a on a.question = q.id and a.outcome != 'skip' group by p.role"""
        with self.database.transaction() as db:
            return {row["role"]: (row["pairs"], row["answers"]) for row in db.execute(count)}

    def judgements(self) -> list[Judgement]:
        """What people have said so far, in the order in which they did."""
        with self.database.transaction() as db:
            return [_judgement(row) for row in db.execute(JUDGED)]

    def forget(self, annotator: str) -> int:
        """Delete all that a person has said, and been asked; returns the number of answers."""
        own = "select id from questions where annotator = ?"
        with self.database.transaction() as db:
            deleted = db.execute(f"delete from answers where question in ({own})", [annotator]).rowcount
            db.execute("delete from questions where annotator = ?", [annotator])
        self.database.checkpoint()  # otherwise the log beside the file would still hold it
        return deleted


def read_judgements(folder: Path) -> list[Judgement]:
    """What people have said in the campaign of this folder, also while they go on answering.

    Raises `UsageError` if the folder holds no campaign, `RunError` if its file cannot be read.
    """
    file = folder / FILE
    if not file.is_file():
        raise UsageError(f"{folder}: holds no campaign: there is no {FILE}")
    with named_errors(file), closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [_judgement(row) for row in db.execute(JUDGED)]


def _judgement(row: sqlite3.Row) -> Judgement:
    swapped = bool(row["swapped"])
    criteria = {name: turned(outcome, swapped) for name, outcome in json.loads(row["criteria"]).items()}
    same = ("pair", "prompt", "first", "second", "first_policy", "second_policy", "annotator", "role", "repeat",
            "expected", "seconds", "note")  # fmt: skip
    outcome = turned(row["outcome"], swapped)
    return Judgement(**{name: row[name] for name in same}, outcome=outcome, swapped=swapped, criteria=criteria)
