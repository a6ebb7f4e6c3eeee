"""The pages in a real browser: height, paging, sizes, colour schemes, paper, and the policy that the service sends."""

import json
import shutil
from itertools import chain

import pytest
from selenium.webdriver.common.keys import Keys

from configs.reward_parts import RougeReward
from service.report.side_by_side import PAGE, orders, pairs
from service.run.held_out_summaries import read_summaries
from tests.browser import save_picture
from tests.service.http.test_fuzz import finish
from tests.service.report.conftest import HOSTILE, LONG, PHONE, ROWS, SIZES, WIDE
from workers.evaluation.measures import TOXICITY, metric_measure

CHIEF = [TOXICITY[0], metric_measure("rougeL", RougeReward(), chief=True)]

PAGES, SCHEMES = ("run", "both", "explore"), ("light", "dark")
SCREENS = 10

CUT = """
const inside = (box, outer) => box.left >= outer.left - 1 && box.right <= outer.right + 1
  && box.top >= outer.top - 1 && box.bottom <= outer.bottom + 1;
const page = {left: 0, right: innerWidth, top: -Infinity, bottom: Infinity}, cut = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; node = texts.nextNode();) {
  if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
  const range = document.createRange(), plot = node.parentElement.closest(".canvas");
  range.selectNodeContents(node);
  const outer = plot ? plot.getBoundingClientRect() : page;
  if (![...range.getClientRects()].every(box => inside(box, outer))) cut.push(node.data.slice(0, 60));
}
return cut;
"""
"""Texts of which a part is outside of the window or of their plot."""

FAINT = """
const numbers = text => text.match(/[\\d.]+/g).map(Number);
const light = colour => { const [r, g, b] = numbers(colour).map(c => c / 255)
  .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
const behind = e => { const c = getComputedStyle(e).backgroundColor; return (numbers(c)[3] ?? 1) ? c
  : behind(e.parentElement); };
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
for (let node; node = texts.nextNode();) {
  const e = node.parentElement, style = getComputedStyle(e);
  if (!node.data.trim() || !e.checkVisibility() || e.matches("option, :disabled, script, style")) continue;
  const ratio = contrast(light(e.ownerSVGElement ? style.fill : style.color), light(behind(e)));
  if (ratio < 4.5) faint.push([node.data.slice(0, 60), ratio]);
}
const lines = [...document.querySelectorAll(".js-line, .point path")].map(e => getComputedStyle(e))
  .map(style => contrast(light(style.stroke === "none" ? style.fill : style.stroke), light(behind(document.body))));
return [faint, Math.min(...lines)];
"""
"""Texts with a contrast below AA, and the least contrast of a line or bar."""

SIZES_OF_PLOTS = """
return [...document.querySelectorAll(".canvas")].filter(plot => plot.clientWidth)
  .map(plot => [plot.clientWidth, plot.querySelector(".main-svg").width.baseVal.value]);
"""
SHOWN = "return [...document.querySelectorAll('.pair')].filter(e => e.checkVisibility()).map(e => e.innerText)"


def prompts_shown(window):
    return [int(text.split("prompt ")[1].split(",")[0].split("\n")[0]) for text in window.run(SHOWN)]


def write(field, *keys):
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(*keys)


def walk(window):
    """Prompts of each page from here to the last, by clicking on Next."""
    found = [prompts_shown(window)]
    while window.one(".next").is_enabled():
        window.one(".next").click()
        found.append(prompts_shown(window))
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", PAGES[:2])
def test_a_report_is_at_most_ten_screens_high(page, size, scheme, pages, window):
    window.open(pages[page], SIZES[size], scheme)
    save_picture(window.browser, f"report-{page}-{size}-{scheme}")
    assert window.run("return document.documentElement.scrollHeight") <= SCREENS * SIZES[size]["height"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cut_or_faint(page, size, scheme, pages, window):
    window.open(pages[page], SIZES[size], scheme)
    window.unfold()
    save_picture(window.browser, f"report-{page}-{size}-{scheme}-unfolded")
    assert window.run(CUT) == []
    assert window.run("return document.documentElement.scrollWidth") <= SIZES[size]["width"]
    faint, least = window.run(FAINT)
    assert faint == [] and least >= 3
    assert window.all(".modebar-btn") == []


@pytest.fixture
def found(run):
    """The pairs of the run, worst gain first."""
    prompts = json.loads((run / "evaluation/prompts.json").read_text())
    return pairs(read_summaries(run, ["before", "after"]), "before", prompts, CHIEF)


@pytest.mark.slow
def test_every_pair_is_on_one_page_in_the_chosen_order(found, pages, window):
    window.open(pages["run"])
    options = window.all(".controls option")
    expected = orders(found, ["before", "after"], CHIEF)
    assert [option.text for option in options] == list(expected) and len(options) == 12
    for option in options:
        option.click()
        seen = walk(window)
        assert [len(page) for page in seen] == [PAGE] * (ROWS // PAGE) + [ROWS % PAGE]
        assert [*chain(*seen)] == [found[place].row for place in expected[option.text]]


def test_pages_are_turned_by_buttons_number_and_arrow_keys(pages, window):
    window.open(pages["run"])
    every = walk(window)
    number, pager = window.one(".controls [type=number]"), window.one(".pager")
    window.one(".previous").click()
    assert prompts_shown(window) == every[-2]
    pager.send_keys(Keys.ARROW_RIGHT)
    assert prompts_shown(window) == every[-1] and "21-23 of 23" in window.one("output").text
    pager.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert prompts_shown(window) == every[-3]
    for given, page in (("2", 1), ("99", -1), ("-5", 0)):
        write(number, given, Keys.ENTER)
        assert prompts_shown(window) == every[page]
    assert not window.one(".previous").is_enabled()


def test_search_finds_the_pairs_with_all_words(found, pages, window):
    window.open(pages["run"])
    texts = {pair.row: "\n".join([pair.topic, pair.reference, *(s["text"] for s in pair.summaries)]) for pair in found}
    for words in (HOSTILE, LONG.upper(), "#person2# #PERSON1#", "  "):
        write(window.one(".controls [type=search]"), words)
        hits = [row for row, text in texts.items() if all(word in text.lower() for word in words.lower().split())]
        assert [*chain(*walk(window))] == hits != []
    write(window.one(".controls [type=search]"), "in no summary")
    assert window.run(SHOWN) == [] and window.one("output").text == "no text has these words"


def test_plots_in_details_have_the_right_size_when_opened_also_after_the_window_changed(pages, window):
    window.open(pages["run"])
    window.unfold()
    sizes = window.run(SIZES_OF_PLOTS)
    assert len(sizes) >= 14 and all(place == drawn for place, drawn in sizes)
    window.run("document.querySelectorAll('details').forEach(details => { details.open = false })")
    window.resize(PHONE)
    window.unfold()
    narrow = window.run(SIZES_OF_PLOTS)
    assert len(narrow) == len(sizes) and all(place == drawn < 390 for place, drawn in narrow) and narrow != sizes


def test_plots_follow_the_scheme_while_the_page_is_open(pages, window):
    window.open(pages["run"])
    fill = "return getComputedStyle(document.querySelector('.xtick text')).fill"
    grid = "return getComputedStyle(document.querySelector('.ygrid')).stroke"
    light = [window.run(fill), window.run(grid)]
    window.scheme("dark")
    dark = [window.run(fill), window.run(grid)]
    assert light == ["rgb(82, 97, 111)", "rgb(230, 234, 239)"] and dark == ["rgb(163, 176, 190)", "rgb(42, 50, 60)"]
    window.scheme("light")
    assert [window.run(fill), window.run(grid)] == light


def test_paper_gets_plots_of_its_width_and_the_window_its_own_back(pages, window):
    window.open(pages["run"], WIDE, "dark")
    before = window.run(SIZES_OF_PLOTS)
    window.run("addEventListener('beforeprint', () => { window.printed = [...document.querySelectorAll('.canvas')]"
               ".filter(plot => plot.layout).map(plot => plot.layout.width); })")  # fmt: skip
    window.browser.execute_cdp_cmd("Page.printToPDF", {})
    assert window.run("return window.printed") == [320] * len(before)
    assert window.run(SIZES_OF_PLOTS) == before and window.errors() == []


@pytest.mark.parametrize("page", PAGES)
def test_texts_never_become_elements_and_nothing_is_fetched(page, pages, window):
    window.open(pages[page])
    window.unfold()
    assert window.browser.title != "run"
    assert window.all("body img") == [] and len(window.all("body script:not([type])")) == 1
    assert window.run("return performance.getEntriesByType('resource').length") == 0
    assert window.errors() == []
    assert page == "both" or HOSTILE in window.run("return document.body.textContent")


def test_the_report_works_under_the_policy_of_the_service(pages, client, served, window):
    run = finish(client)
    shutil.copy(pages["run"], client.app.state.runs.folder(run) / "report.html")
    window.open(f"{served(client)}/runs/{run}/files/report.html")
    assert window.run("return self.origin") == "null"
    assert sorted(chain(*walk(window))) == list(range(ROWS))
    window.unfold()
    assert len(window.all(".canvas .main-svg")) >= 14
    window.one("table.sortable th").click()
    assert window.one("table.sortable th").get_attribute("aria-sort") == "descending"
    assert window.run("return performance.getEntriesByType('resource').length") == 0 and window.errors() == []
