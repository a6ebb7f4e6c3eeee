"""The human half of a report."""

import html
import re

import pytest

import ray_job
from service.report.judgements import plots, verdict
from tests.workers.preferences.answers import judgement
from workers.preferences.judgement_files import write_judgements
from workers.preferences.simulated_annotators import SimulatedAnnotator, SimulatedQuestion
from workers.preferences.statistics import judge

HOSTILE = "<script>alert(1)</script>"


def wins(count, losses=0, **more):
    known = {"role": "evaluation", **more}
    return [judgement(f"{i}", outcome="second" if i < count else "first", **known) for i in range(count + losses)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text("steps: 3\n")
    return tmp_path


def page(folder, judgements, *options):
    write_judgements(judgements, folder / "answers.jsonl")
    assert ray_job.main(["report", str(folder), "--judgements", str(folder / "answers.jsonl"), *options]) == 0
    return html.unescape(re.sub(r"<script>.*?</script>", "", (folder / "report.html").read_text(), flags=re.DOTALL))


def test_the_report_says_whom_people_prefer(folder):
    text = page(folder, wins(30, 10))
    assert "What people say" in text and "people prefer run to base: win rate of run 75% [" in text
    assert "Win rates, with 95% intervals" in text and "run against base" in text
    assert ray_job.main(["report", str(folder)]) == 0
    assert "What people say" not in (folder / "report.html").read_text()


def test_names_are_texts_not_markup(folder):
    given = wins(30, second_policy=HOSTILE, annotator=HOSTILE)
    write_judgements(given, folder / "answers.jsonl")
    assert ray_job.main(["report", str(folder), "--judgements", str(folder / "answers.jsonl")]) == 0
    assert HOSTILE not in (folder / "report.html").read_text()
    assert HOSTILE not in str([plot.figure for plot in plots(judge(given))])


def test_what_does_not_show_is_said_with_what_would(folder):
    lines = verdict(judge(wins(12, 9)))
    assert lines[0].startswith("no preference between run and base shows: win rate of run 57% [")
    assert lines[0].endswith("; about 173 more questions would show 60:40")
    assert lines[1].startswith("agreement: not known")


def test_doubtful_answers_are_called_so():
    training = verdict(judge(wins(30, role="training")))
    assert "these are training questions, which were not drawn at random: no fair comparison" in training
    assert not any(line.startswith("the place mattered") for line in training)  # nothing was shown on both sides
    sides = [*wins(30, swapped=True), *(judgement(f"f{i}") for i in range(30))]
    assert any(line.startswith("the place mattered: 100% [") for line in verdict(judge(sides)))
    assert verdict(judge([judgement(outcome="skip")]))[0] == "no answer compares two policies"


def test_agreement_is_in_the_verdict():
    answers = [judgement(f"{i}", who, said) for i in range(9) for who, said in
               zip("abc", ["first", "first", "second" if i < 3 else "first"], strict=True)]  # fmt: skip
    assert "one annotator agrees with the majority of the others in " in verdict(judge(answers))[2]


def test_simulated_annotators_are_never_called_people(folder):
    one = SimulatedAnnotator("a", lambda prompt, completion, reference: float(len(completion)), temperature=0.0)
    asked = [SimulatedQuestion(f"{i}", "p", "x", "xx", "base", "run", role="evaluation") for i in range(8)]
    text = page(folder, [one.answer(question) for question in asked])
    assert "simulated annotators, who are no people, prefer run to base" in text and "What people say" not in text


def test_judgements_belong_to_one_run(folder, capsys):
    assert ray_job.main(["report", str(folder), str(folder), "--judgements", "a.jsonl"]) == 2
    assert "--judgements: they are shown on the page of a single run" in capsys.readouterr().err
    assert ray_job.main(["report", str(folder), "--judgements", str(folder / "none.jsonl")]) == 2
    assert "--judgements: " in capsys.readouterr().err
