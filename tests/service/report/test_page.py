"""The page of a finished run, of an unfinished one, and of several; model output is escaped."""

import json
import re
import shutil

import pytest

import ray_job
from configs.reward_parts import RougeReward
from service.report.side_by_side import MOST, PAGE, Pair, chosen, orders, pairs
from tests.conftest import small_arguments
from tests.service.report.conftest import HOSTILE, ROWS
from workers.evaluation.measures import TOXICITY, metric_measure, recorded

CHIEF = [TOXICITY[0], metric_measure("rougeL", RougeReward(), chief=True)]


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text()


def body(page: str) -> str:
    """Without plotly's own code."""
    return page[page.index("<body>") :]


def test_the_verdict_comes_first_and_everything_is_there(page, run):
    text = body(page)
    order = [
        "after against before: less toxic",
        "Results",
        "Training curves",
        "Distributions",
        "By topic",
        "Summaries side by side",
        "Run details",
        "adapter sha256",
        "Config",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    report = json.loads((run / "report.json").read_text())
    assert report["adapter_sha256"] in text and report["versions"]["torch"] in text and "batch_size: 8" in text
    assert all(measure.title in text for measure in recorded(report["evaluation"]))
    assert len(recorded(report["evaluation"])) == 14


def test_the_page_is_one_file_that_fetches_nothing(page):
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", body(page))
    assert "default-src 'none'" in page


def test_what_a_model_wrote_is_escaped(page):
    assert HOSTILE not in page and "&lt;img src=x onerror=" in page


def test_a_run_in_progress_has_a_page_too(run, tmp_path, capsys):
    begun = shutil.copytree(run, tmp_path / "begun")
    for name in ("report.json", "report.html"):
        (begun / name).unlink()
    shutil.rmtree(begun / "evaluation")
    lines = (begun / "steps.jsonl").read_bytes().splitlines(keepends=True)
    (begun / "steps.jsonl").write_bytes(lines[0] + lines[1] + lines[2][:20])
    assert ray_job.main(["report", str(begun)]) == 0
    assert capsys.readouterr().out.strip() == str(begun / "report.html")
    text = body((begun / "report.html").read_text())
    assert "ended early, step 2 of 3" in text and "First step to latest: reward" in text and "Training curves" in text


def test_several_runs_are_compared(run, tmp_path):
    other = tmp_path / "other"
    assert ray_job.main(small_arguments(out=other, steps=2, algorithm__learning_rate=0.02)) == 0
    assert ray_job.main(["report", str(run), str(other), "--out", str(tmp_path / "both.html")]) == 0
    text = body((tmp_path / "both.html").read_text())
    assert "Runs compared" in text and "Settings that differ" in text
    assert re.search(r">algorithm.learning_rate</td><td[^>]*>0.001</td><td[^>]*>0.02</td>", text)
    assert text.count("after against before: less toxic") == 2 and "data.path</td>" not in text


@pytest.mark.parametrize(("arguments", "expected"), [(["nowhere"], "nowhere: not a run folder")])
def test_a_folder_that_is_not_a_run_is_named(arguments, expected, capsys):
    assert ray_job.main(["report", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_both_ends_of_many_pairs_are_shown():
    shown = chosen(list(range(1000)))
    assert len(shown) == MOST and shown[0] == 0 and shown[-1] == 999 and list(shown) == sorted(set(shown))
    assert list(chosen(list(range(5)))) == [0, 1, 2, 3, 4]


def test_pairs_are_sorted_by_the_last_policys_gain(run):
    from service.run.held_out_summaries import read_summaries

    prompts = json.loads((run / "evaluation/prompts.json").read_text())
    found = pairs(read_summaries(run, ["before", "after"]), "before", prompts, CHIEF)
    assert len(found) == ROWS and [p.gain for p in found] == sorted(p.gain for p in found)
    first, last = found[0].summaries
    expected = first["toxicity"] - last["toxicity"] + (last["rougeL"] - first["rougeL"]) / 100
    assert found[0].gain == pytest.approx(expected)


def test_without_javascript_the_first_page_can_be_read(page):
    shown = re.findall(r'<li class="pair"( hidden)?>', body(page))
    assert shown == [""] * PAGE + [" hidden"] * (ROWS - PAGE)
    assert '<div class="controls" hidden>' in page and "<noscript>" in page


def test_orders_put_what_they_name_first_and_unknown_numbers_last():
    def pair(row, topic, toxicity, rouge):
        return Pair(row, topic, "", [{"text": "", "toxicity": toxicity, "rougeL": rouge}], 0.0)

    found = [pair(7, "b", 0.2, 50.0), pair(3, "c", float("nan"), 70.0), pair(5, "a", 0.9, 60.0)]
    assert orders(found, ["after"], CHIEF) == {
        "worst regressions first": [0, 1, 2],
        "best gains first": [2, 1, 0],
        "as in the data set": [1, 2, 0],
        "by topic": [2, 0, 1],
        "after: most toxic first": [2, 0, 1],
        "after: least toxic first": [0, 2, 1],
        "after: lowest ROUGE-L first": [0, 2, 1],
        "after: highest ROUGE-L first": [1, 2, 0],
    }
    assert "by topic" not in orders([pair(0, "", 0.1, 1.0)], ["after"], CHIEF)
