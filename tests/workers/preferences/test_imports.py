"""Exports of Argilla and Label Studio, in the shapes that their own code writes, and the preferences in them."""

import json

import pytest

from configs.errors import UsageError
from learner.preferences.pairs import Preference
from workers.preferences.argilla import is_argilla, read_argilla
from workers.preferences.imports import Naming
from workers.preferences.label_studio import is_label_studio, read_label_studio
from workers.preferences.rows import read_rows

FIELDS = {"dialogue": "d", "response-1": "one", "response-2": "two"}


def read(tmp_path, records, **naming):
    (tmp_path / "export.json").write_text(json.dumps(records))
    table = read_rows(str(tmp_path / "export.json"), "SOURCE")
    assert is_argilla(table) != is_label_studio(table)
    reader = read_argilla if is_argilla(table) else read_label_studio
    return reader(table, Naming(**naming), "SOURCE")


def record(value, question="better", fields=FIELDS, **more):
    responses = {question: [{"value": value, "user_id": "u1"} | more]}
    return {"id": "r", "fields": fields, "metadata": {}, "suggestions": {}, "responses": responses, "vectors": {}}


def task(*results, data=None, **annotation):
    given = {"id": 5, "completed_by": 3, "was_cancelled": False, "result": list(results)} | annotation
    data = data or {"prompt": "d", "answer1": "one", "answer2": "two", "source": "x"}
    return {"id": 7, "data": data, "annotations": [given], "predictions": []}


def pairwise(side):
    return {"from_name": "pw", "to_name": "a,b", "type": "pairwise", "value": {"selected": side}}


def choices(*names, control="better"):
    return {"from_name": control, "to_name": "a", "type": "choices", "value": {"choices": list(names)}}


ONE, TWO = (Preference("d", *texts, annotator="u1", pair="r") for texts in (("one", "two"), ("two", "one")))
TIE = Preference("d", "one", "two", tie=True, annotator="u1", pair="r")
# fmt: off
ANSWERS = {
    "a ranking": ([{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}], TWO),
    "a tied ranking": ([{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}], TIE),
    "a ranking in order": (["response-2", "response-1"], TWO),
    "options of other names": (["Summary 1", "Summary 2"], ONE),
    "a field as a label": ("response-2", TWO),
    "a number as a label": ("1", ONE),
    "a word as a label": ("Response B is better", TWO),
    "a tie as a label": ("Both are equal", TIE),
}
# fmt: on


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_of_argilla(answer, tmp_path):
    value, expected = ANSWERS[answer]
    assert read(tmp_path, [record(value)]).preferences == [expected]


def test_fields_that_end_in_0_and_1_are_not_mistaken_for_1_and_2(tmp_path):
    fields = {"prompt": "d", "generation-0": "one", "generation-1": "two"}
    found = [
        read(tmp_path, [record(v, fields=fields)]).preferences for v in ("1", "0", ["generation-1", "generation-0"])
    ]
    assert found == [[TWO], [ONE], [TWO]]


def test_a_ranking_of_three_is_three_pairs(tmp_path):
    fields = FIELDS | {"response-3": "three"}
    ranks = [{"value": f"response-{i}", "rank": rank} for i, rank in ((1, 2), (2, 1), (3, 2))]
    found = read(tmp_path, [record(ranks, fields=fields)]).preferences
    assert [(p.chosen, p.rejected, p.tie) for p in found] == [
        ("two", "one", False), ("one", "three", True), ("two", "three", False)
    ]  # fmt: skip
    assert len({p.pair for p in found}) == 3


def test_all_forms_of_argilla_say_the_same(tmp_path):
    nested = record("1") | {"responses": {"better": [{"value": "1", "user_id": "u1"}, {"value": "2", "user_id": "u2"}]}}
    users = [{"values": {"better": {"value": str(i)}}, "user_id": f"u{i}", "status": "submitted"} for i in (1, 2)]
    flat = FIELDS | {"id": "r", "_server_id": "s", "status": "completed", "better.responses": ["1", "2"],
                     "better.responses.users": ["u1", "u2"], "better.responses.status": ["submitted"] * 2}  # fmt: skip
    found = [read(tmp_path, [one]).preferences for one in (nested, record("1") | {"responses": users}, flat)]
    assert found[0] == found[1] == found[2] and len(found[0]) == 2


def test_only_submitted_answers_count_and_the_others_are_counted(tmp_path):
    records = [record("1"), record("1", status="draft"), record("2", status="discarded"), record(None)]
    found = read(tmp_path, records)
    assert found.preferences == [ONE]
    assert found.left_out == {"draft answers": 1, "discarded answers": 1, "records without an answer": 1}


def test_answers_of_label_studio(tmp_path):
    tasks = [task(pairwise("right")), task(choices("Answer 1")), task(choices("Tie"), completed_by={"email": "a@b.c"}),
             task(), task(pairwise("left"), was_cancelled=True), {**task(), "annotations": []}]  # fmt: skip
    found = read(tmp_path, tasks)
    assert [(p.chosen, p.tie, p.annotator, p.pair) for p in found.preferences] == [
        ("two", False, "3", "7"), ("one", False, "3", "7"), ("one", True, "a@b.c", "7")
    ]  # fmt: skip
    assert found.left_out == {
        "annotations without an answer": 1, "skipped annotations": 1, "tasks without an annotation": 1
    }  # fmt: skip


def test_a_template_makes_the_prompt_that_the_policy_reads(tmp_path):
    found = read(tmp_path, [record("1")], template="Summarize {text}:\n")
    assert found.preferences[0].prompt == "Summarize d:\n"


def test_fields_and_questions_can_be_named(tmp_path):
    fields = {"x": "d", "y": "one", "z": "two", "note": "n"}
    several = record("y", fields=fields)
    several["responses"]["tone"] = [{"value": "z", "user_id": "u1"}]
    names = {"prompt": "x", "first": "y", "second": "z"}
    assert read(tmp_path, [several], question="better", **names).preferences == [ONE]
    chosen = task(choices("Answer 2"), choices("Answer 1", control="tone"))
    assert read(tmp_path, [chosen], question="better").preferences[0].chosen == "two"


# fmt: off
BROKEN = {
    "several questions": ({**record("1"), "responses": {"a": [{"value": "1"}], "b": [{"value": "1"}]}},
                          "several questions: a, b; choose one with --question"),
    "no completions": (record("1", fields={"prompt": "p", "text": "t"}), "name them with --first and --second"),
    "no prompt": (record("1", fields=FIELDS | {"context": "c"}), "name it with --prompt"),
    "an unknown answer": (record("maybe"), "the answer 'maybe' names neither response-1 nor response-2"),
    "an unknown option": (record(["c", "d"]), "the option 'c' of the ranking has the name of no field"),
    "no objects": ({**record("1"), "responses": {"better": ["1"]}}, "not the form of an export of Argilla"),
    "an empty completion": (record("1", fields=FIELDS | {"response-2": ""}), "rejected: there is no text"),
    "several controls": (task(choices("1"), choices("2", control="tone")), "several controls were answered: better"),
    "a list of annotators": ({**task(), "annotations": "none"}, "not the form of an export of Label Studio"),
    "no such choice": (task(choices("blue")), "the answer 'blue' names neither answer1 nor answer2"),
}
# fmt: on


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cannot_be_understood_is_named_with_its_place(broken, tmp_path):
    given, part = BROKEN[broken]
    with pytest.raises(UsageError) as raised:
        read(tmp_path, [given])
    assert raised.value.problems[0].startswith(f"SOURCE: {tmp_path}/export.json row 1: ")
    assert part in raised.value.problems[0]
