"""`ray_job.py pairs`: from answers to files of pairs and back, and the judgement of answers."""

import json

import pandas as pd
import pytest

import ray_job
from tests.workers.preferences.answers import judgement
from workers.preferences.files import read_preferences
from workers.preferences.judgement_files import write_judgements


@pytest.fixture
def answers(tmp_path):
    """A file of answers to twelve questions by two people, one of whom also has a repeat."""
    given = [judgement(f"{i}", who, "tie" if i == 3 else "second", role="evaluation" if i < 4 else "training")
             for i in range(12) for who in ("ann", "=bob")]  # fmt: skip
    write_judgements([*given, judgement("5", "ann", "first", repeat=1)], tmp_path / "answers.jsonl")
    return tmp_path / "answers.jsonl"


def pairs(*arguments):
    return ray_job.main(["pairs", *map(str, arguments)])


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out"])
def test_what_is_exported_is_imported_again(name, answers, capsys):
    folder = answers.parent
    assert pairs("export", answers, "--out", folder / name) == 0
    assert capsys.readouterr().out.splitlines() == [
        "16 preferences, 0 of them ties; left out: 8 evaluation, 1 repeat", str(folder / name)
    ]  # fmt: skip
    assert pairs("import", folder / name, "--out", folder / "again.jsonl", "--template", "Read: {text}") == 0
    found = read_preferences(str(folder / "again.jsonl"), "pairs")
    assert [p.prompt for p in found[:2]] == ["Read: p 4"] * 2
    assert {p.annotator for p in found} == {"ann", "=bob"}


def test_a_csv_file_that_pandas_has_edited_is_imported(answers):
    folder = answers.parent
    assert pairs("export", answers, "--out", folder / "out.csv") == 0
    table = pd.read_csv(folder / "out.csv")
    assert set(table["annotator"]) == {"ann", "'=bob"}
    table["tie"] = table["pair"] == 4
    table["margin"] = table["pair"].where(table["pair"] > 5)
    table[table["annotator"] == "ann"].to_csv(folder / "edited.csv", index=False)
    assert pairs("import", folder / "edited.csv", "--out", folder / "edited.jsonl") == 0
    found = read_preferences(str(folder / "edited.jsonl"), "pairs")
    assert [(p.pair, p.tie, p.margin) for p in found[:3]] == [("4", True, None), ("5", False, None), ("6", False, 6.0)]


def test_an_export_of_another_tool_is_recognised_and_can_be_insisted_on(tmp_path, capsys):
    record = {"id": "r", "fields": {"prompt": "p", "a": "x", "b": "y"}, "responses": {"q": [{"value": "b"}]}}
    (tmp_path / "argilla.json").write_text(json.dumps([record, {**record, "responses": {}}]))
    assert pairs("import", tmp_path / "argilla.json", "--out", tmp_path / "out.jsonl") == 0
    assert "1 preferences, 0 of them ties; left out: 1 records without an answer" in capsys.readouterr().out
    assert pairs("import", tmp_path / "argilla.json", "--from", "preferences", "--out", tmp_path / "2.jsonl") == 2
    assert "no column prompt" in capsys.readouterr().err


def test_answers_are_judged_on_the_terminal_and_as_json(answers, capsys):
    assert pairs("judge", answers, "--json", answers.parent / "out.json") == 0
    out = capsys.readouterr().out
    assert "run against base" in out and out.splitlines()[-1] == str(answers.parent / "out.json")
    found = json.loads((answers.parent / "out.json").read_text())
    assert found["comparisons"][0]["win_rate"]["value"] == 0.875  # of the evaluation questions 0 to 3, 3 is a tie
    assert (found["answers"], found["compared"], found["simulated"]) == (25, "evaluation", False)


def test_one_annotators_answers_are_deleted(answers, capsys):
    assert pairs("delete-annotator", answers, "=bob") == 0
    assert capsys.readouterr().out == f"12 answers by =bob deleted from {answers}\n"
    assert pairs("delete-annotator", answers, "=bob") == 2
    assert "no answer by '=bob'; its answers are by: ann" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "none.csv", "--out", "a.jsonl"), "SOURCE: none.csv does not exist"),
        (("import", "{answers}", "--out", "{answers}"), "--out: {answers} exists"),
        (("import", "{answers}", "--out", "none/a.jsonl"), "--out: there is no folder none"),
        (("import", "{answers}", "--out", "{folder}/a.jsonl"), "has no column chosen and no column rejected"),
        (("import", "{answers}", "--out", "{folder}/a.jsonl", "--template", "x"), "--template: it must contain {text}"),
        (("export", "{folder}", "--out", "{folder}/a.docx"), "must end in .jsonl or .csv"),
        (("export", "{evaluation}", "--out", "{folder}/a.jsonl"), "no preference to write; left out: 1 evaluation"),
        (("judge", "{answers}", "--json", "none/a.json"), "--json: there is no folder none"),
        (("delete-annotator", "{folder}", "ann"), "can be removed from jsonl, csv and tsv files"),
    ],
)  # fmt: skip
def test_bad_requests_are_named_and_change_nothing(arguments, message, answers, capsys):
    write_judgements([judgement(role="evaluation")], answers.parent / "evaluation.jsonl")
    names = {"answers": answers, "folder": answers.parent, "evaluation": answers.parent / "evaluation.jsonl"}
    before = {path: path.read_bytes() for path in answers.parent.iterdir()}
    assert pairs(*(argument.format(**names) for argument in arguments)) == 2
    assert message.replace("{answers}", str(answers)) in capsys.readouterr().err
    assert {path: path.read_bytes() for path in answers.parent.iterdir()} == before
