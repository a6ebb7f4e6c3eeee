"""How the pages look on a phone and on a screen, by day and by night: nothing is cut, and everything is legible."""

import json

import pytest

from service.run.lock import lock_folder
from tests.browser import save_picture
from tests.service.http.test_fuzz import finish
from tests.service.page.page import DESKTOP, PHONE, add_adapter

TEXTS = "h1, h2, h3, p, td, th, button, a, label, small, pre, input, figcaption, legend, [class], svg, svg text"
CUT = """
const main = document.documentElement;
const shown = e => e.getClientRects().length && !e.closest('.skip, thead, #js-plotly-tester');
const inside = box => box.left >= -0.5 && box.right <= innerWidth + 0.5;
const fits = e => e.closest('svg') || getComputedStyle(e).display === 'inline' || e.scrollWidth <= e.clientWidth + 2;
return [main.scrollWidth > innerWidth ? 'the page' : '', ...[...document.querySelectorAll(arguments[0])].filter(
    e => shown(e) && !(inside(e.getBoundingClientRect()) && fits(e))).map(e => e.outerHTML)].filter(text => text);
"""
TARGETS = "button, .button, nav a, .target, select, textarea, .preset, input:not([type=radio], [type=hidden])"
SMALL = """
return [...document.querySelectorAll(arguments[0])].filter(
    e => e.getClientRects().length && e.getBoundingClientRect().height < 40).map(e => e.outerHTML);
"""
FAINT = """
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
function light(colours) {
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
        v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(element) {
    const behind = [], style = getComputedStyle(element);
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    const both = [light(behind), light([...behind, element.closest('svg') ? style.fill : style.color])];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}
const shown = e => e.getClientRects().length && !e.matches(':disabled, .skip, option, script, style, noscript');
const written = e => [...e.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
return [...document.querySelectorAll('body *')].filter(
    e => shown(e) && written(e) && contrast(e) < 4.5).map(e => `${contrast(e)} ${e.outerHTML}`);
"""


def add_steps(folder, count):
    """Curves as a run has them."""
    lines = [{"step": n, "reward/mean": n / 20 - 0.2, "objective/kl": 0.03 * n, "objective/kl_k3": 0.02 * n,
              "watch/toxicity": 0.6 * 0.95**n, "watch/second_judge": 0.4 * 0.97**n, "watch/rougeL": 85 + n / 12}
             for n in range(count)]  # fmt: skip
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def busy(client, start, config):
    """A client with runs in all states, and the paths of pages by name."""
    runs = client.app.state.runs
    for state in ("stopped", "interrupted"):
        finish(client, state)
    failed = finish(client, "failed", f"a message that is long: {'word ' * 30}{'x' * 300}")
    done, running = finish(client), finish(client, "running")
    runs.jobs.states[f"{running}-1"] = "running"
    asked = {"base": "quickstart_grouped_ppo", "steps": 7, "seed": 3, "policy": {"lora": {"r": 4}}}
    pending = client.post("/runs", json=asked).json()["id"]
    add_adapter(client, done, start, config)
    for name in (failed, running, done):
        add_steps(runs.folder(name), 12 if name == running else 45)
    folder = runs.folder(running)
    doing = {"phase": "training", "done": 12, "total": 45, "seconds": 40.0, "seconds_left": 110.2}
    (folder / "status.json").write_text(json.dumps(doing))
    size = {"wanted": 2, "ready": 1, "loading": 1, "pending": 0}
    (folder / "workers.json").write_text(json.dumps(dict.fromkeys(("rollout", "reward", "reference", "learner"), size)))
    with lock_folder(folder):
        yield client, {
            "runs": "/page/runs", "none": "/page/runs?q=nothing", "start": "/page/start",
            "try": f"/page/try?adapter={done}", "running": f"/page/runs/{running}", "failed": f"/page/runs/{failed}",
            "log": f"/page/runs/{done}/log", "pending": f"/page/runs/{pending}", "missing": "/page/runs/0123456789ab",
        }  # fmt: skip


def settle(page, name):
    """Fill the page with what a user finds or makes there."""
    if name in ("running", "failed"):
        page.until(lambda: len(page.curves()) == 4 and all(len(curve) > 1 for curve in page.curves()))
    elif name == "try":
        page.press("#summarize")
        page.until(lambda: len(page.all("#summaries article")) == 2)
    elif name == "start":
        page.write("#steps", "many")
        page.press("#start")
        page.until(lambda: page.text("#steps-problem"))


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in ((PHONE, "light"), (DESKTOP, "dark"))]


@pytest.mark.parametrize("width, scheme", [(PHONE, "dark"), (DESKTOP, "light"), *SLOW])
def test_nothing_is_cut_small_or_faint(busy, open_page, width, scheme):
    client, paths = busy
    page = open_page(client, "/docs")
    page.refused = {404, 422}
    with page.screen(width, scheme):
        for name, path in paths.items():
            page.go(path)
            settle(page, name)
            save_picture(page.browser, f"{name}-{width}-{scheme}")
            assert page.run(CUT, TEXTS) == [], name
            assert page.run(SMALL, TARGETS) == [], name
            assert page.run(FAINT) == [], name
            assert not page.has(".modebar-btn--logo, .modebar-btn"), name


def test_curves_follow_the_colour_scheme_and_the_width(busy, open_page):
    client, paths = busy
    page = open_page(client)

    def ink():
        return page.run("return getComputedStyle(document.querySelector('.xtick text')).fill")

    with page.screen(DESKTOP, "light"):
        page.go(paths["failed"])
        settle(page, "failed")
        by_day = ink()
        with page.screen(PHONE, "dark"):
            page.until(lambda: ink() != by_day)
            page.until(lambda: page.run(CUT, TEXTS) == [])
