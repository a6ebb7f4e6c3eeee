"""Exports of Argilla 2: the file of `records.to_json`, and the data set of `records.to_datasets`.

A record of the first has `fields` and `responses`, a list for each question. A row of the second has a column for each
field, and for a question called `preference` the columns `preference.responses`, `preference.responses.users` and
`preference.responses.status`. Records of the REST API, whose `responses` are a list of users' `values`, are read too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from learner.preferences.pairs import Preference
from workers.data.table import Table
from workers.preferences.imports import (
    Answer,
    Imported,
    Naming,
    completion_names,
    each_record,
    option_field,
    outcome,
    preference,
)

FLAT = ".responses"
UNSUBMITTED = ("draft", "discarded", "pending")
NO_FIELDS = ("id", "_server_id", "external_id", "status")


class Response(NamedTuple):
    """One user's answer to one question."""

    question: str
    value: Any
    user: str
    status: str | None


def is_argilla(table: Table) -> bool:
    """True if the columns are those of an export of Argilla."""
    return {"fields", "responses"} <= set(table.columns) or any(name.endswith(FLAT) for name in table.columns)


def read_argilla(table: Table, naming: Naming, field: str) -> Imported:
    """A preference of each submitted answer to a label question, and of each pair of a ranking.

    Raises `UsageError` naming `field`, file and line.
    """
    left_out: Counter[str] = Counter()

    def make(record: Mapping[str, Any]) -> Iterator[Preference]:
        texts = record["fields"] if "fields" in record else _flat_fields(record)
        name = str(record.get("id") or record.get("_server_id") or "")
        given = _of_question([r for r in _responses(record) if r.value is not None], naming.question)
        if not given:
            left_out["records without an answer"] += 1
        for response in given:
            if response.status in UNSUBMITTED:
                left_out[f"{response.status} answers"] += 1
            else:
                yield from (preference(answer, texts, naming) for answer in _answers(response, texts, naming, name))

    return Imported(each_record(table, field, "Argilla", make), left_out)


def _flat_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if "." not in name and name not in NO_FIELDS}


def _of_question(given: list[Response], question: str | None) -> list[Response]:
    """The answers to this question, or to the only one. Raises `ValueError` if there are several to choose from."""
    names = list(dict.fromkeys(response.question for response in given))
    if question is None and len(names) > 1:
        raise ValueError(f"there are answers to several questions: {', '.join(names)}; choose one with --question")
    return [response for response in given if question in (None, response.question)]


def _answers(response: Response, texts: Mapping[str, Any], naming: Naming, name: str) -> Iterator[Answer]:
    """The answer to a label question; of a ranking one for each two options (Ouyang et al. 2022, 3.4)."""
    if not isinstance(response.value, list):
        first, second = completion_names(texts, naming)
        yield Answer(first, second, outcome(response.value, first, second), response.user, name)
        return
    ranks: dict[str, float] = {}
    for place, entry in enumerate(response.value):
        option, rank = (entry["value"], entry.get("rank")) if isinstance(entry, dict) else (entry, None)
        ranks[option_field(option, texts)] = place if rank is None else rank
    for first, second in combinations(sorted(ranks), 2):
        difference = ranks[first] - ranks[second]
        said = "tie" if not difference else "first" if difference < 0 else "second"
        pair = name if len(ranks) == 2 else f"{name}/{first}/{second}"
        yield Answer(first, second, said, response.user, pair, tuple(ranks))


def _responses(record: Mapping[str, Any]) -> Iterator[Response]:
    """The answers of a record in any of the three forms."""
    found = record.get("responses")
    if isinstance(found, dict):
        for question, answers in found.items():
            for answer in answers or ():
                yield Response(question, answer.get("value"), str(answer.get("user_id")), answer.get("status"))
    for user in found if isinstance(found, list) else ():
        for question, answer in (user.get("values") or {}).items():
            yield Response(question, answer.get("value"), str(user.get("user_id")), user.get("status"))
    for column in [name for name in record if name.endswith(FLAT)]:
        values = record[column] or []
        users, statuses = ((record.get(column + end) or [None] * len(values)) for end in (".users", ".status"))
        for value, user, status in zip(values, users, statuses, strict=True):
            yield Response(column.removesuffix(FLAT), value, str(user), status)
