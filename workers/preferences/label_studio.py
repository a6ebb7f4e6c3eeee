"""Exports of Label Studio in its form `JSON`: a list of tasks, each with `data` and `annotations`.

The answer is the `result` of a control `Pairwise` (`value.selected` is left or right) or `Choices` (`value.choices`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from learner.preferences.pairs import Preference
from workers.data.table import Table
from workers.preferences.imports import Answer, Imported, Naming, completion_names, each_record, outcome, preference

CONTROLS = ("pairwise", "choices")


def is_label_studio(table: Table) -> bool:
    """True if the columns are those of an export of Label Studio."""
    return {"data", "annotations"} <= set(table.columns)


def read_label_studio(table: Table, naming: Naming, field: str) -> Imported:
    """A preference of each annotation that was not skipped. Raises `UsageError` naming `field`, file and line."""
    left_out: Counter[str] = Counter()

    def make(task: Mapping[str, Any]) -> Iterator[Preference]:
        if not task["annotations"]:
            left_out["tasks without an annotation"] += 1
        for annotation in task["annotations"] or ():
            skipped = annotation.get("was_cancelled")
            said = None if skipped else _said(annotation.get("result") or (), naming)
            if said is None:
                left_out["skipped annotations" if skipped else "annotations without an answer"] += 1
                continue
            first, second = completion_names(task["data"], naming)
            who, name = _person(annotation.get("completed_by")), str(task.get("id", ""))
            answer = Answer(first, second, outcome(said, first, second), who, name)
            yield preference(answer, task["data"], naming)

    return Imported(each_record(table, field, "Label Studio", make), left_out)


def _said(results: Any, naming: Naming) -> str | None:
    """What the control says that was asked for, else the only one; None if there is none. Raises `ValueError`."""
    answers = {
        result["from_name"]: (result["type"], result["value"])
        for result in results
        if result.get("type") in CONTROLS and naming.question in (None, result.get("from_name"))
    }
    pairwise = [name for name, (kind, _) in answers.items() if kind == "pairwise"]
    names = pairwise or list(answers)
    if len(names) > 1:
        raise ValueError(f"several controls were answered: {', '.join(names)}; choose one with --question")
    if not names:
        return None
    kind, value = answers[names[0]]
    return value["selected"] if kind == "pairwise" else " ".join(value["choices"])


def _person(completed_by: Any) -> str:
    """Name of the annotator: an id, or an object with an email."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id"))
    return str(completed_by)
