"""The command as users run it: what it shows, writes and refuses; and hostile data."""

import json
from functools import partial
from pathlib import Path

import pytest
import ray

import ray_job
from service.commands.explore import explore
from tests.conftest import small_config

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
HOSTILE = "<script>document.title = 'harmed'</script><img src=x onerror=\"document.title = 'harmed'\">"


def write(folder, **splits):
    for name, rows in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rows(count, topic="weather", text="a word or two " * 20):
    return [{"dialogue": f"{text}{i}", "summary": f"{text}{i}"[:80], "topic": topic} for i in range(count)]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a data set with script in every cell, topic name and split name."""
    folder = tmp_path_factory.mktemp("hostile")
    data = rows(8, topic="<b>rain</b>" + HOSTILE, text=HOSTILE + "\x1b[2J" + "word " * 50)
    write(folder, train=data, test=data, **{"<img src=x onerror=alert(1)>": data})
    return explore(small_config(data__path=folder, out=folder / "out")) / "explore.html"


def test_the_shipped_data_at_a_glance(tmp_path, capsys):
    assert ray_job.main(["explore", "--out", str(tmp_path / "new/folder")]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == str(tmp_path / "new/folder") and not ray.is_initialized()
    for part in ("2000", "208", "320", "prompt, tokens", "noisy neighbour", "validation and test", "#Person1#: "):
        assert part in shown
    figures = json.loads((tmp_path / "new/folder/explore.json").read_bytes())
    assert [split["rows"] for split in figures["splits"].values()] == [2000, 208, 320]
    assert figures["topics"]["distinct"] == 16 and len(figures["samples"]["dialogues"]) == 5
    assert "noisy neighbour" in (tmp_path / "new/folder/explore.html").read_text()


def test_without_out_a_new_folder_is_made(tmp_path, monkeypatch):
    data = write(tmp_path, train=rows(3))
    config = small_config(data__path=data, policy__model=Path("quickstart/policy").absolute())
    monkeypatch.chdir(tmp_path)
    first, second = explore(config), explore(config)
    assert first != second and first.parent == Path("runs") and (first / "explore.json").exists()


def test_any_split_will_do_and_what_no_run_reads_may_be_something_else(tmp_path, capsys):
    write(tmp_path, test=rows(3), dev=rows(2), notes=[{"author": "me"}])
    folder = explore(small_config(data__path=tmp_path, out=tmp_path / "out"))
    figures = json.loads((folder / "explore.json").read_bytes())
    assert list(figures["splits"]) == ["test", "dev"] and figures["samples"]["split"] == "test"
    assert "data.prompt_column" in figures["skipped"]["notes"]
    assert "Left out: notes" in " ".join(capsys.readouterr().out.split())


def test_topics_are_those_of_the_column_that_groups_are_made_by(tmp_path):
    write(tmp_path, train=[row | {"mood": "good"} for row in rows(3)])
    grouped = {"algorithm__type": "grouped_ppo", "algorithm__group_by__type": "column"}
    config = small_config(data__path=tmp_path, out=tmp_path / "out", **grouped, algorithm__group_by__column="mood")
    figures = json.loads((explore(config) / "explore.json").read_bytes())
    assert figures["topics"]["top"] == [{"topic": "good", "rows": {"train": 3}}]


def test_data_without_topics_has_no_section_of_them(tmp_path, capsys):
    data = [{"dialogue": row["dialogue"], "summary": row["summary"]} for row in rows(3)]
    folder = explore(small_config(data__path=write(tmp_path, train=data), out=tmp_path / "out"))
    assert "Topics" not in capsys.readouterr().out and "Topics" not in (folder / "explore.html").read_text()[-20000:]


CASES = {
    "no split": ([], ["data.path: {none} has no split"]),
    "no such data": (["--data.path", "no/such"], ["data.path: 'no/such' is not a local directory"]),
    "no such column": (["--data.path", "{data}", "--data.prompt_column", "talk"], ["data.prompt_column", "'talk'"]),
    "no such model": (["--data.path", "{data}", "--policy.model", "no/such"], ["policy.model: 'no/such'"]),
    "out in use": (["--data.path", "{data}", "--out", "{data}"], ["out: {data} exists and is not an empty folder"]),
    "a broken file": (["--data.path", "{broken}"], ["data.path: {broken}/train.jsonl cannot be read"]),
    "two things": (["--policy.model", "no/such", "--out", "{data}"], ["policy.model", "data.path", "out: "]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_explored_is_told_by_field_with_exit_code_2(case, tmp_path, capsys):
    folders = {name: tmp_path / name for name in ("none", "data", "broken")}
    for folder in folders.values():
        folder.mkdir()
    write(folders["data"], train=rows(2))
    (folders["broken"] / "train.jsonl").write_text("{{{")
    given, expected = CASES[case]
    arguments = ["--data.path", str(folders["none"]), *(argument.format(**folders) for argument in given)]
    assert ray_job.main(["explore", *arguments]) == 2
    error = capsys.readouterr().err
    assert all(part.format(**folders) in error for part in expected) and "Traceback" not in error


def test_hostile_text_is_escaped_in_the_page(hostile):
    html = hostile.read_text()
    assert HOSTILE not in html and "<script>document" not in html and "<img" not in html.split("</head>")[1]
    assert "&lt;script&gt;document.title" in html


def test_hostile_text_does_not_command_the_terminal(tmp_path, capsys):
    data = write(tmp_path, train=rows(2, topic="\x1b[31m[bold]red", text="\x1b]0;title\x07" + "word " * 60))
    explore(small_config(data__path=data, out=tmp_path / "out"))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown and "[bold]red" in shown


@pytest.mark.skipif(not (CHROMIUM.exists() and DRIVER.exists()), reason="needs chromium and chromedriver")
def test_in_a_browser_plots_are_drawn_and_nothing_hostile_runs_nor_is_fetched(hostile, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
                     "--host-resolver-rules=MAP * ~NOTFOUND"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER))) as browser:
        browser.get(hostile.as_uri())
        count = partial(browser.execute_script, "return document.querySelectorAll(arguments[0]).length")
        assert count(".js-plotly-plot svg.main-svg") >= 6 and count(".bars .point path") == 3
        assert count("path.js-line") >= 15 and count("img") == 0
        labels = [label.text for label in browser.find_elements("css selector", ".xtick text")]
        assert len([label for label in labels if label.startswith("<b>rain</b>")]) == 1  # shown as it is, not as markup
        assert browser.title.startswith("Data set ") and browser.get_log("browser") == []
        fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in fetched if not name.startswith(("data:", "blob:"))] == []
