"""Pages to look at, and a browser of two sizes and colour schemes."""

import json

import pytest
from selenium.webdriver.support.ui import WebDriverWait

import ray_job
from tests.conftest import small_arguments

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
LONG = "Donaudampfschifffahrt" * 15
ROWS = 23
PATIENCE = 30
WIDE = {"width": 1250, "height": 800, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
SIZES = {"wide": WIDE, "phone": PHONE}


def change(file, edit):
    """Let `edit` change what a JSON file holds."""
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run some of whose summaries, topics and references are hostile or without a space."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert ray_job.main(small_arguments(out=folder, steps=3, evaluation__rows=ROWS)) == 0
    lines = (folder / "evaluation/after.jsonl").read_text().splitlines()
    unit = json.loads(lines[1])
    unit["summaries"][0]["text"] = HOSTILE
    unit["summaries"][1]["text"] = LONG
    lines[1] = json.dumps(unit)
    (folder / "evaluation/after.jsonl").write_text("\n".join(lines) + "\n")

    def texts(prompts):
        prompts[0] |= {"topic": HOSTILE, "references": [HOSTILE]}
        prompts[1] |= {"topic": LONG, "references": [LONG]}

    def groups(report):
        first, second, *others = report["evaluation"]["groups"].items()
        report["evaluation"]["groups"] = dict([(HOSTILE, first[1]), (LONG, second[1]), *others])

    change(folder / "evaluation/prompts.json", texts)
    change(folder / "report.json", groups)
    assert ray_job.main(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def pages(run, tmp_path_factory):
    """Name -> file of a page: of a run, of two runs and of a data set."""
    folder = tmp_path_factory.mktemp("pages")
    other, both, data = folder / LONG[:100], folder / "both.html", folder / "data"
    assert ray_job.main(small_arguments(out=other, steps=2, algorithm__learning_rate=0.02)) == 0
    assert ray_job.main(["report", str(run), str(other), "--out", str(both)]) == 0
    data.mkdir()
    rows = [{"dialogue": f"{HOSTILE} {LONG} {i} " * 4, "summary": f"{LONG} {i}", "topic": f"{i % 16} topic {LONG}"}
            for i in range(40)]  # fmt: skip
    for split in ("train", "validation", "test"):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert ray_job.main(["explore", f"--data.path={data}", f"--out={folder / 'explore'}"]) == 0
    return {"run": run / "report.html", "both": both, "explore": folder / "explore/explore.html"}


class Window:
    """A browser's window with a size and a colour scheme."""

    def __init__(self, browser):
        self.browser, self.run = browser, browser.execute_script

    def open(self, url, size=WIDE, scheme="light"):
        self.resize(size)
        self.scheme(scheme)
        self.browser.get_log("browser")  # discard the log of earlier pages
        self.browser.get(url if isinstance(url, str) else url.as_uri())
        there = "return location.protocol !== 'about:' && document.readyState === 'complete'"
        WebDriverWait(self.browser, PATIENCE).until(lambda browser: browser.execute_script(there))

    def resize(self, size):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def scheme(self, name):
        wanted = [{"name": "prefers-color-scheme", "value": name}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted if name else []})

    def unfold(self):
        """Open all details and wait until what they hold has been laid out."""
        self.run("document.querySelectorAll('details').forEach(details => { details.open = true })")
        self.settle()

    def settle(self):
        """Wait for two frames: in the first, plots are fitted to their place."""
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        return self.browser.find_element("css selector", selector)

    def errors(self):
        return [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def window(browser):
    window = Window(browser)
    yield window
    window.scheme("")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get("about:blank")
