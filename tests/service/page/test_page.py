"""The page in a real browser without a network: what a new user does, and that no text becomes HTML."""

import json
from dataclasses import replace

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from configs.errors import UsageError
from learner.adapter import save_adapter
from learner.lora import lora_config
from service.run.lock import lock_folder
from tests.service.http.test_fuzz import finish

PATIENCE = 30
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


class Page:
    """The page as a user sees it."""

    def __init__(self, browser, url):
        self.browser, self.url = browser, url
        browser.get_log("browser")  # discard the log of earlier pages
        browser.get(url)
        self.until(lambda: self.all("#summarize"))

    def until(self, condition):
        """The value of the condition, once it is true."""
        return WebDriverWait(self.browser, PATIENCE, ignored_exceptions=()).until(lambda _: condition())

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def tab(self, name):
        self.browser.find_element(By.XPATH, f"//button[@role='tab'][normalize-space()='{name}']").click()

    def field(self, label):
        """The input with a label."""
        return self.browser.find_element(By.XPATH, f"//label[.//*[normalize-space()='{label}']]//input")

    def write(self, field, text):
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text or Keys.DELETE)

    def value(self, id):
        return self.browser.execute_script(
            "return (document.querySelector(arguments[0]) ?? {}).value", f"#{id} textarea, #{id} input"
        )

    def choose(self, id, option):
        self.one(f"#{id} input").click()
        self.until(lambda: [e for e in self.all("[role=option]") if e.text.strip("✓ \n") == option])[0].click()

    def toasts(self):
        """The text of the error messages in the corner."""
        return "".join(toast.get_attribute("textContent") for toast in self.all(".toast-body"))

    def rows(self):
        """The cells of the table of runs."""
        return self.browser.execute_script(
            "return [...document.querySelectorAll('#runs [role=row]')].map(row => [...row.querySelectorAll("
            "'[role=gridcell]')].map(cell => cell.innerText.trim())).filter(row => row.length)"
        )

    def curves(self):
        """Title of each plot, and the number of points of its lines."""
        return self.browser.execute_script(
            "return [...document.querySelectorAll('.js-plotly-plot')].map("
            "plot => [plot.layout.title.text, ...plot.data.map(line => line.x.length)])"
        )


@pytest.fixture
def open_page(browser, served):
    """A function: a client -> its page, which must log no errors and make no requests to other hosts."""
    opened = []

    def start(client):
        opened.append(Page(browser, served(client)))
        return opened[-1]

    yield start
    for page in opened:
        asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
        log = browser.get_log("browser")
        browser.get("about:blank")
        assert asked and all(name.startswith((page.url, "data:", "blob:")) for name in asked)
        assert log == []


def test_a_new_user_starts_stops_and_resumes_a_run(client, open_page):
    page, runs = open_page(client), client.app.state.runs
    page.tab("Runs")
    assert page.until(lambda: page.value("state")).startswith("No run yet.")
    page.tab("Start a run")
    page.choose("preset", "flan_t5_detox")
    page.until(lambda: page.field("Steps").get_attribute("value") == "10")
    page.write(page.field("Steps"), "3")
    page.one("#start").click()
    page.until(lambda: page.one("#state").is_displayed())
    page.until(lambda: page.value("state") == "pending, 0 of 3 steps")
    (record,) = runs.store.newest()
    assert (record.base, record.steps, record.owner) == ("flan_t5_detox", 3, "local")
    page.until(lambda: page.rows() and page.rows()[0][:4] == [record.id, "flan_t5_detox", "pending", "0 of 3"])
    page.until(lambda: not page.one("#resume").is_enabled())
    page.one("#stop").click()
    page.until(lambda: page.value("state") == "stopped, 0 of 3 steps")
    page.until(lambda: page.one("#resume").is_enabled() and not page.one("#stop").is_enabled())
    page.one("#resume").click()
    page.until(lambda: page.value("state") == "pending, 0 of 3 steps")
    assert runs.store.get(record.id).attempt == 2


def test_invalid_numbers_of_steps_are_reported_and_start_nothing(client, open_page):
    page = open_page(client)
    page.tab("Start a run")
    for steps, error in (("", "steps: Input should be a valid integer"), ("1000000", "steps: must be from 0 to")):
        page.write(page.field("Steps"), steps)
        page.one("#start").click()
        page.until(lambda error=error: error in (page.value("start-errors") or ""))
        assert page.one("#start-errors").is_displayed()
    page.write(page.field("Steps"), "0")
    page.one("#start").click()
    page.until(lambda: "less than minimum value 1" in page.toasts())
    assert client.get("/runs").json()["total"] == 0


def test_a_summary_is_shown_with_its_toxicity(client, open_page):
    page = open_page(client)
    page.one("#summarize").click()
    summary = page.until(lambda: page.value("summary-before"))
    asked = {"dialogues": [page.value("dialogue")], "seed": 1}
    assert [summary] == client.post("/summaries", json=asked).json()["summaries"][0]["texts"]
    toxicity = client.post("/scores", json={"texts": [summary]}).json()["scores"][0]["toxicity"]
    shown = page.until(lambda: page.one("#score-before").text)
    assert "toxic" in shown and f"{100 * max(toxicity, 1 - toxicity):.0f}%" in shown
    assert page.value("summary-after") == ""


def test_summaries_before_and_after_training_are_shown_side_by_side(client, open_page, start, config):
    run = finish(client)
    folder = client.app.state.runs.folder(run) / "adapter"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    save_adapter(start[0], lora_config(config.policy), config.policy.model, folder)
    page = open_page(client)
    page.until(lambda: (page.value("adapter") or "").startswith(run))
    page.write(page.field("Seed"), "")
    page.one("#summarize").click()
    after = page.until(lambda: page.value("summary-after"))
    assert after == page.value("summary-before"), "an untrained adapter changes nothing"
    assert [after] == client.post("/summaries", json={"dialogues": [page.value("dialogue")]}).json()["summaries"][0][
        "texts"
    ], "without a seed: greedy decoding"


def test_curves_grow_with_the_run_and_its_files_are_linked(client, open_page):
    older, run = finish(client, steps=7), finish(client, "failed", "error: it fell over", steps=2)
    page = open_page(client)
    page.tab("Runs")
    page.until(lambda: page.value("state") == "failed, 2 of 45 steps; error: it fell over")
    page.until(lambda: ["Reward", 2] in page.curves())
    with (client.app.state.runs.folder(run) / "steps.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, "reward/mean": 1.0, "watch/rougeL": 80.0}) + "\n")
    page.until(lambda: ["Reward", 3] in page.curves())
    assert [title for title, *_ in page.curves()] == [
        "Reward", "KL from the reference, nats per summary", "Toxicity", "ROUGE-L of the training summaries"
    ]  # fmt: skip
    page.choose("run", f"{older} · quickstart · succeeded")
    page.until(lambda: page.value("state") == "succeeded, 7 of 45 steps")
    page.until(lambda: ["Reward", 7] in page.curves())
    for id, name in (("report", "report.html"), ("download", "adapter.zip")):
        link = page.one(f"#{id}").get_attribute("href")
        assert link == f"{page.url}/runs/{older}/files/{name}" and client.get(link).status_code == 200


def test_the_workers_of_a_running_run_can_be_changed(client, open_page):
    run = finish(client, "running")
    client.app.state.runs.jobs.states[f"{run}-1"] = "running"
    folder = client.app.state.runs.folder(run)
    page = open_page(client)
    page.tab("Runs")
    page.until(lambda: (page.value("state") or "").startswith("running"))
    doing = {"phase": "evaluating after", "done": 2, "total": 27, "seconds": 4.0, "seconds_left": 50.2}
    (folder / "status.json").write_text(json.dumps(doing))
    page.until(lambda: "steps; evaluating after 2 of 27, about 50 s left" in page.value("state"))
    assert client.get(f"/runs/{run}").json()["doing"] == doing
    page.write(page.field("reward workers"), "4")
    page.one("#scale").click()
    page.until(lambda: f"run {run} is not running" in page.toasts())
    with lock_folder(folder):
        page.one("#scale").click()
        page.until(lambda: (folder / "scale.json").exists())
    assert json.loads((folder / "scale.json").read_text()) == {"reward": 4}


def test_on_a_phone_nothing_is_wider_than_the_screen(client, open_page):
    finish(client, "failed", f"error: {'a long word ' * 30}{'x' * 300}")
    page = open_page(client)
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        for name in ("Try a summary", "Start a run", "Runs"):
            page.tab(name)
            if name == "Runs":
                page.until(lambda: page.curves() and (page.value("state") or "").startswith("failed"))
            widths = page.browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
            assert widths[0] == PHONE["width"] and widths[1] <= PHONE["width"], name
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


RUN = "window.hit=1"
HOSTILE = (
    f"<script data-hit>{RUN}</script>",
    f"</script><script data-hit>{RUN}</script>",
    f"<ScRiPt data-hit>{RUN}//",
    f"<script data-hit src=data:,{RUN}></script>",
    f"<scr<script>ipt data-hit>{RUN}</scr</script>ipt>",
    f"<img data-hit src=x onerror={RUN}>",
    f"<img data-hit src='x' onerror='{RUN}'//",
    f'"><img data-hit src=x onerror={RUN}>',
    f"'><img data-hit src=x onerror={RUN}>",
    f"<img/data-hit/src=x/onerror={RUN}>",
    f"<IMG DATA-HIT SRC=javascript:{RUN}>",
    f"</textarea><img data-hit src=x onerror={RUN}>",
    f"</title></style></template><img data-hit src=x onerror={RUN}>",
    f"--><img data-hit src=x onerror={RUN}>",
    f"]]><img data-hit src=x onerror={RUN}>",
    f"\u00a0<img data-hit\x0csrc=x\x0conerror={RUN}>",
    f"<svg data-hit onload={RUN}>",
    f"<svg data-hit><script>{RUN}</script></svg>",
    f"<svg data-hit><animate onbegin={RUN} attributeName=x></svg>",
    f"<svg data-hit><a href=javascript:{RUN}><text y=20>x</text></a></svg>",
    f"<math data-hit><mi xlink:href=javascript:{RUN}>x</mi></math>",
    f"<body data-hit onload={RUN}>",
    f"<iframe data-hit src=javascript:parent.{RUN}></iframe>",
    f'<iframe data-hit srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f"<object data-hit data=javascript:{RUN}></object>",
    f"<embed data-hit src=javascript:{RUN}>",
    f"<video data-hit><source onerror={RUN}></video>",
    f"<audio data-hit src=x onerror={RUN}>",
    f"<details data-hit open ontoggle={RUN}><summary>x</summary></details>",
    f"<input data-hit autofocus onfocus={RUN}>",
    f"<select data-hit autofocus onfocus={RUN}></select>",
    f"<marquee data-hit onstart={RUN}>x</marquee>",
    f"<form data-hit action=javascript:{RUN}><button>x</button></form>",
    f"<button data-hit formaction=javascript:{RUN}>x</button>",
    f"<a data-hit href=javascript:{RUN}>x</a>",
    f"<a data-hit href='&#106;avascript:{RUN}'>x</a>",
    "<a data-hit href=//evil.example>x</a>",
    "<base data-hit href=//evil.example>",
    "<link data-hit rel=stylesheet href=//evil.example/x.css>",
    "<meta data-hit http-equiv=refresh content='0;url=//evil.example'>",
    "<style data-hit>* {display: none}</style>",
    "<div data-hit style='position:fixed;inset:0'>x</div>",
    f"[hit](javascript:{RUN})",
    "[hit](https://evil.example 'hit')",
    f'![hit](x " onerror={RUN})',
    "**hit** _hit_ `hit`",
    "<https://evil.example/hit>",
    f"{{{{constructor.constructor('{RUN}')()}}}}${{{RUN}}}<%= {RUN} %>#{{{RUN}}}",
    f"$\\href{{javascript:{RUN}}}{{hit}}$ $$\\text{{hit}}$$",
    f"&lt;img data-hit src=x onerror={RUN}&gt;&#60;img data-hit src=x onerror={RUN}&#62;",
    f"\u003cimg data-hit src=x onerror={RUN}\u003e",
    f"\uff1cimg data-hit src=x onerror={RUN}\uff1e",
)
GROUPS = ["\n".join(HOSTILE[i : i + 6]) for i in range(0, len(HOSTILE), 6)]
INJECTED = """
const made = [...document.querySelectorAll('[data-hit], .katex, [href*="evil.example"], [href^="javascript:"]')]
const marked = [...document.querySelectorAll('strong, em, code, a, h1')].filter(e => e.textContent.includes('hit'))
return [window.hit ?? null, ...[...made, ...marked].map(element => element.outerHTML)]
"""


assert len(set(HOSTILE)) > 50


def injected(page):
    """Trace of a script that ran, and elements made from text."""
    return page.browser.execute_script(INJECTED)


def test_what_a_model_writes_stays_text(client, open_page, models, monkeypatch):
    async def echo(adapter, question):
        return question.dialogue

    finish(client)
    monkeypatch.setattr(models, "summarize", echo)
    page = open_page(client)
    for text in GROUPS:
        page.browser.execute_script(
            "const field = document.querySelector('#dialogue textarea'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            text,
        )
        page.one("#summarize").click()
        page.until(lambda text=text: page.value("summary-before") == page.value("summary-after") == text)
        assert injected(page) == [None], text


def test_errors_are_shown_as_text(client, open_page, models, monkeypatch):
    texts = iter(GROUPS)

    async def fail(adapter, question):
        raise UsageError(next(texts))

    monkeypatch.setattr(models, "summarize", fail)
    page = open_page(client)
    for text in GROUPS:
        page.one("#summarize").click()
        page.until(lambda text=text: text.split() == page.toasts().split()[-len(text.split()) :])
        assert injected(page) == [None], text
        page.one(".toast-close").click()
        page.until(lambda: not page.toasts())


def test_texts_of_runs_stay_text(client, open_page):
    store = client.app.state.runs.store
    first = store.get(finish(client))
    for number, text in enumerate(GROUPS):
        made = replace(first, id=f"{number:012x}", base=text, owner=text, request={"base": text}, token=None,
                       created=first.created + number + 1, state="failed", message="\n".join(GROUPS))  # fmt: skip
        assert store.add(made, 99)
    page = open_page(client)
    page.tab("Runs")
    page.until(lambda: "\n".join(GROUPS) in (page.value("state") or ""))
    page.until(lambda: {text.split()[0] for text in GROUPS} <= {row[1].split()[0] for row in page.rows()})
    assert injected(page) == [None]
    page.one("#run input").click()
    page.until(lambda: len(page.all("[role=option]")) == len(GROUPS) + 1)
    assert injected(page) == [None]


def test_a_report_has_no_origin(client, browser, served):
    run = finish(client)
    report = client.app.state.runs.folder(run) / "report.html"
    report.write_text("<body><script>document.title = `${self.origin} ${location.pathname}`</script>")
    answer = client.get(f"/runs/{run}/files/report.html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'") and "same-origin" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    browser.get(f"{served(client)}/runs/{run}/files/report.html")
    assert browser.title == f"null /runs/{run}/files/report.html"
    browser.get("about:blank")


def test_the_api_docs_show_every_operation_without_other_hosts(client, browser, served):
    url, operations = served(client), client.app.openapi()["paths"].values()
    browser.get_log("browser")
    browser.get(f"{url}/docs")
    count = sum(len(methods) for methods in operations)
    WebDriverWait(browser, PATIENCE).until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, ".opblock")) == count)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked and all(name.startswith((url, "data:")) for name in asked)
    assert browser.get_log("browser") == []
    browser.get("about:blank")
