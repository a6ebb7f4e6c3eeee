"""Judgements on disk, what of them may be learnt from, and the removal of one annotator's."""

import json
from dataclasses import asdict, replace

import pytest

from configs.errors import UsageError
from learner.preferences.pairs import Preference
from tests.workers.preferences.answers import judgement
from workers.preferences.deletion import delete_annotator
from workers.preferences.judgement_files import read_judgements, write_judgements
from workers.preferences.training_pairs import fates, judgements_to_preferences

ROW = asdict(judgement())


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_judgements_are_read_as_they_were_written(tmp_path):
    judgements = [
        judgement(seconds=2.5, criteria={"harm": "tie"}, note="half an emoji \ud83d"),
        judgement("r", outcome="skip", role="qualification", expected="tie", swapped=True, repeat=0),
        judgement(repeat=1),
    ]
    write_judgements(judgements, tmp_path / "a.jsonl")
    assert read_judgements(str(tmp_path / "a.jsonl"), "SOURCE") == judgements


def test_fields_with_a_default_may_be_left_out(tmp_path):
    needed = {name: value for name, value in ROW.items() if name in list(ROW)[:8]}
    assert read_judgements(write(tmp_path / "a.jsonl", needed), "SOURCE") == [judgement()]


# fmt: off
BROKEN = {
    "a file of pairs": ([{"prompt": "p", "chosen": "a", "rejected": "b"}], "has no pair and no first"),
    "an outcome": ([ROW | {"outcome": "left"}], "line 1: outcome: Input should be 'first', 'tie', 'second' or 'skip'"),
    "a role": ([ROW | {"role": "test"}], "line 1: role: Input should be"),
    "a number as text": ([ROW | {"first": 1}], "line 1: first: Input should be a valid string (given: 1)"),
    "a criterion": ([ROW | {"criteria": {"harm": "bad"}}], "line 1: criteria.harm: "),
    "an unknown field": ([ROW | {"winner": "first"}], "line 1: winner: a judgement has no such field"),
    "a missing field": ([ROW, {n: v for n, v in ROW.items() if n != "second"}], "line 2: second: Field required"),
    "a duration": ([ROW | {"seconds": -1}], "line 1: seconds: -1.0 is no duration"),
    "an endless duration": ([ROW | {"seconds": float("nan")}], "line 1: seconds: nan is no duration"),
    "a repeat": ([ROW | {"repeat": -1}], "line 1: repeat: -1 is below 0"),
    "answered twice": ([ROW, ROW], "line 2: ann has answered pair q before, at"),
    "other texts": ([ROW, ROW | {"annotator": "bob", "first": "x"}], "line 2: prompt, first or second of pair q"),
}
# fmt: on


@pytest.mark.parametrize("broken", BROKEN)
def test_bad_judgements_are_named_by_line(broken, tmp_path):
    rows, part = BROKEN[broken]
    with pytest.raises(UsageError) as raised:
        read_judgements(write(tmp_path / "a.jsonl", *rows), "--judgements")
    assert raised.value.problems[0].startswith("--judgements: ") and part in raised.value.problems[0]


def test_only_first_answers_to_training_questions_are_learnt_from():
    judgements = [
        judgement("1"),
        judgement("2", outcome="second"),
        judgement("3", outcome="tie"),
        judgement("4", outcome="skip"),
        judgement("1", repeat=1),
        judgement("5", role="evaluation"),
        judgement("6", role="qualification", expected="first"),
        judgement("7", first="same", second="same"),
        judgement("8", first=""),
    ]
    assert judgements_to_preferences(judgements) == [
        Preference("p 1", "a 1", "b 1", annotator="ann", pair="1"),
        Preference("p 2", "b 2", "a 2", annotator="ann", pair="2"),
        Preference("p 3", "a 3", "b 3", tie=True, annotator="ann", pair="3"),
    ]
    assert fates(judgements) == {"taken": 3, "skipped": 1, "repeat": 1, "evaluation": 1, "qualification": 1,
                                 "empty or equal texts": 2}  # fmt: skip


FILES = {
    "a.jsonl": '{"annotator": "ann", "x": "\\u00e9"}\n\n{"annotator":"bob"}\n{"annotator": null}\n{"annotator": "ann"}',
    "a.csv": 'prompt;annotator\r\n"a\r\nb";ann\r\nc;bob\r\n\r\nd;"ann"\r\n',
    "a.tsv": "annotator\tx\nann\t1\nbob\t2\nann\t3\n",
}
LEFT = {
    "a.jsonl": '\n{"annotator":"bob"}\n{"annotator": null}\n',
    "a.csv": "prompt;annotator\r\nc;bob\r\n\r\n",
    "a.tsv": "annotator\tx\nbob\t2\n",
}


@pytest.mark.parametrize("name", FILES)
def test_one_annotators_answers_are_deleted_and_the_rest_keeps_its_bytes(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name].encode())
    with pytest.raises(UsageError, match="no answer by 'eve'; its answers are by: ann, bob"):
        delete_annotator(tmp_path / name, "eve")
    assert (tmp_path / name).read_bytes() == FILES[name].encode()
    assert delete_annotator(tmp_path / name, "ann") == 2
    assert (tmp_path / name).read_bytes() == LEFT[name].encode()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_guarded_name_is_deleted_by_what_it_is(tmp_path):
    (tmp_path / "a.csv").write_text("annotator\n'@ann\n")
    assert delete_annotator(tmp_path / "a.csv", "@ann") == 1


@pytest.mark.parametrize(
    ("name", "data"), [("a.parquet", b""), ("none.jsonl", None), ("a.jsonl", b"{"), ("a.csv", b"\xff")]
)
def test_a_file_that_answers_cannot_be_deleted_from_is_named(name, data, tmp_path):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=rf"FILE: .*{name}"):
        delete_annotator(tmp_path / name, "ann")


def test_swapping_the_sides_of_the_screen_changes_nothing_that_is_learnt():
    given = [judgement(), judgement("2", outcome="second")]
    assert judgements_to_preferences(given) == judgements_to_preferences([replace(j, swapped=True) for j in given])
