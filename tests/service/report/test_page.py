"""The page of a finished run, of an unfinished one, and of several; model output is escaped. In a real browser."""

import json
import re
import shutil

import pytest

import ray_job
from service.report.side_by_side import MOST, chosen, pairs
from tests.conftest import small_arguments
from workers.evaluation.comparison import MEASURES

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run one of whose summaries, topics and references are hostile."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert ray_job.main(small_arguments(out=folder, steps=3)) == 0
    lines = (folder / "evaluation/after.jsonl").read_text().splitlines()
    unit = json.loads(lines[1])
    unit["summaries"][0]["text"] = HOSTILE
    lines[1] = json.dumps(unit)
    (folder / "evaluation/after.jsonl").write_text("\n".join(lines) + "\n")
    prompts = json.loads((folder / "evaluation/prompts.json").read_text())
    prompts[0] |= {"topic": HOSTILE, "references": [HOSTILE]}
    (folder / "evaluation/prompts.json").write_text(json.dumps(prompts))
    assert ray_job.main(["report", str(folder)]) == 0
    return folder


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
        "Worst regressions",
        "Best gains",
        "Side by side",
        "Run details",
        "adapter sha256",
        "Config",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    report = json.loads((run / "report.json").read_text())
    assert report["adapter_sha256"] in text and report["versions"]["torch"] in text and "batch_size: 8" in text
    assert all(measure.title in text for measure in MEASURES)


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
    assert "<td>algorithm.learning_rate</td><td>0.001</td><td>0.02</td>" in text
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
    found = pairs(read_summaries(run, ["before", "after"]), "before", prompts)
    assert len(found) == 6 and [p.gain for p in found] == sorted(p.gain for p in found)
    first, last = found[0].summaries
    expected = first["toxicity"] - last["toxicity"] + (last["rougeL"] - first["rougeL"]) / 100
    assert found[0].gain == pytest.approx(expected)


def test_in_a_browser_plots_are_drawn_tables_sort_and_nothing_hostile_runs(run, browser):
    browser.get(f"file://{run}/report.html")
    assert browser.title == "mine", "the hostile summary would have changed it"
    assert len(browser.find_elements("css selector", ".plots svg.main-svg")) >= 10
    table = browser.find_element("xpath", "//h2[text()='Side by side']/following::table[1]")
    gains = lambda: [float(c.text) for c in table.find_elements("css selector", "tbody tr td:first-child")]  # noqa: E731
    assert gains() == sorted(gains()) and len(gains()) == 6
    head = table.find_element("css selector", "th")
    head.click()
    assert gains() == sorted(gains(), reverse=True)
    head.click()
    assert gains() == sorted(gains())
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
