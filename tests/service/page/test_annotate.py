"""People compare summaries in a real browser: nothing is lost, nothing is doubled, and nothing tells who wrote what."""

import re
import socket
import subprocess
import sys
from functools import partial
from itertools import cycle, islice

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from service.campaigns.store import read_judgements
from tests.browser import save_picture
from tests.campaigns import add_campaign, make_store
from tests.conftest import ROOT
from tests.service.http.test_access import bearer
from tests.service.page.page import DESKTOP, PHONE, Page
from tests.service.page.test_hostile_texts import HOSTILE, injected
from tests.service.page.test_looks import CUT, FAINT, SMALL, TARGETS, TEXTS

QUESTION = "return document.querySelector('#task')?.dataset.question ?? ''"
OUTCOMES = {"1": "first", Keys.ARROW_LEFT: "first", "0": "tie", "t": "tie", Keys.ARROW_DOWN: "tie", "2": "second",
            Keys.ARROW_RIGHT: "second"}  # fmt: skip


def type_key(page, key):
    ActionChains(page.browser).send_keys(key).perform()


def act(page, action):
    """Do something that leads to another question, and wait for it."""
    before = page.run(QUESTION)
    action()
    page.until(lambda: page.run(QUESTION) != before)


def enter(page, name="Ann Lee"):
    """Give a name to a service without keys; the browser may know one from a test before."""
    page.go("/annotate")
    page.browser.delete_all_cookies()
    page.go("/annotate")
    page.write("#name", name)
    page.press("#choose-name")
    page.until(lambda: page.has(".campaigns"))


class Service:
    """The process of tests/service/page/annotating.py."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        self.start()

    def start(self):
        words = [sys.executable, "-m", "tests.service.page.annotating", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                pass

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_thirty_pairs_are_answered_over_a_reload_and_a_kill_and_none_is_lost(tmp_path, browser):
    store = make_store(tmp_path / "runs/campaigns", pairs=28, known=2, repeats=0.0, criteria=("harm",))
    store.close()
    service = Service(tmp_path / "runs")
    page, expected = Page(browser, f"http://127.0.0.1:{service.port}"), []
    try:
        enter(page)
        page.press(".campaigns .button")
        page.until(lambda: page.run(QUESTION))
        for number, key in enumerate(islice(cycle(OUTCOMES), 30)):
            if number == 10:
                page.press("#noting summary")
                page.one("#note").send_keys("unsaved")
                asked = page.run(QUESTION)
                page.browser.refresh()
                page.until(lambda: page.value("#note") == "unsaved")
                assert page.run(QUESTION) == asked, "it goes on where it was"
                page.run("document.activeElement.blur()")
            if number == 17:
                asked = page.run(QUESTION)
                service.kill()
                type_key(page, key)
                page.until(lambda: "does not answer" in page.text("#notice"))
                page.browser.get_log("browser")  # it says that nobody listened
                assert page.run(QUESTION) == asked
                service.start()
            seen = page.text("#first"), page.text("#second"), OUTCOMES[key]
            expected.append(seen)
            press = partial(page.press, f"[data-key={OUTCOMES[key]}]")
            act(page, press if number % 3 == 2 else partial(type_key, page, key))
        page.until(lambda: page.has("#done"))
        assert page.text("#own").startswith("30 compared") and page.text("#progress").startswith("30 answered")
        page.browser.refresh()
        assert page.has("#done")
        page.check_traffic()
    finally:
        service.kill()
        browser.get("about:blank")
    found = read_judgements(store.folder)
    assert [shown(one) for one in found] == expected
    assert len({one.pair for one in found}) == 30 and [one.note for one in found if one.note] == ["unsaved"]
    assert {one.annotator for one in found} == {"Ann Lee"}
    assert 5 < sum(one.swapped for one in found) < 25, "both sides are shown first"


def shown(one):
    """The two texts and the answer of a judgement as they were on the screen."""
    if not one.swapped:
        return one.first, one.second, one.outcome
    return one.second, one.first, {"first": "second", "second": "first"}.get(one.outcome, one.outcome)


def test_what_the_keyboard_and_the_buttons_do(client, open_page):
    id = add_campaign(client, pairs=6, criteria=("readability", "harm"), repeats=0.0)
    store, page = client.app.state.campaigns.store(id), open_page(client, "/annotate")
    enter(page, "Zoë; =1+1 <b>")
    page.go(f"/annotate/{id}")
    first = page.run(QUESTION)
    page.press("#noting summary")
    page.one("#note").send_keys("1 2 u s")
    assert page.run(QUESTION) == first, "keys of a note are letters"
    page.run("document.activeElement.blur()")
    page.one("[name=readability][value=second]").click()
    page.one("[name=harm][value=tie]").send_keys(Keys.ARROW_RIGHT)
    assert page.run(QUESTION) == first and page.run("return document.querySelector('[name=harm]:checked').value") == (
        "second"
    ), "arrows choose among the answers to a criterion"
    page.run("document.activeElement.blur()")
    act(page, lambda: type_key(page, "1"))
    [one] = store.judgements()
    assert shown(one)[2] == "first" and one.note == "1 2 u s" and one.annotator == "Zoë; =1+1 <b>"
    assert set(one.criteria) == {"readability", "harm"} and one.seconds > 0
    assert page.value("#note") == "", "a note is of one question"
    second = page.run(QUESTION)
    type_key(page, Keys.BACKSPACE)
    page.until(lambda: page.run(QUESTION) == first)
    assert store.judgements() == [] and not page.one("#undo").is_enabled()
    act(page, lambda: type_key(page, "t"))
    assert page.run(QUESTION) == second
    type_key(page, "s")
    page.until(lambda: page.run("return document.activeElement.name") == "skip")
    act(page, lambda: type_key(page, Keys.ENTER))
    assert [(one.outcome, one.note) for one in store.judgements()] == [("tie", ""), ("skip", "I cannot tell")]
    act(page, lambda: page.press("#undo"))
    assert page.run(QUESTION) == second and len(store.judgements()) == 1


def test_answers_that_can_no_longer_be_taken_are_explained(client, open_page):
    id = add_campaign(client, pairs=3, repeats=0.0)
    page = open_page(client, "/annotate")
    page.refused = {409, 503}
    enter(page, "ann")
    page.go(f"/annotate/{id}")
    asked = page.run(QUESTION)
    client.post(f"/campaigns/{id}/answers?annotator=ann", json={"question": asked, "outcome": "tie"})
    act(page, lambda: type_key(page, "1"))
    assert "has another answer already" in page.text("#said")
    store = client.app.state.campaigns.store(id)
    store.database._db.execute("alter table answers rename to lost")
    type_key(page, "2")
    page.until(lambda: "cannot be read or written" in page.text("#notice"))
    store.database._db.execute("alter table lost rename to answers")
    act(page, lambda: type_key(page, "2"))
    assert page.text("#notice") == "" and [shown(one)[2] for one in store.judgements()] == ["tie", "second"]
    client.post(f"/campaigns/{id}/close")
    type_key(page, "2")
    page.until(lambda: "it is closed" in page.text("#said") and "Thank you" in page.text("#done"))
    assert len(store.judgements()) == 2


@pytest.mark.parametrize("width, scheme", [(PHONE, "dark"), (DESKTOP, "light"),
                                           pytest.param(PHONE, "light", marks=pytest.mark.slow),
                                           pytest.param(DESKTOP, "dark", marks=pytest.mark.slow)])  # fmt: skip
def test_nothing_is_cut_small_or_faint(client, open_page, width, scheme):
    id = add_campaign(client, pairs=2, known=1, criteria=("readability", "coherence", "faithfulness", "harm"))
    page = open_page(client, "/docs")
    with page.screen(width, scheme):

        def check(name):
            save_picture(page.browser, f"{name}-{width}-{scheme}")
            for look in ((CUT, TEXTS), (SMALL, TARGETS), (FAINT,)):
                assert page.run(*look) == [], name

        page.go("/annotate")
        page.browser.delete_all_cookies()
        page.go("/annotate")
        check("annotate-name")
        enter(page)
        check("annotate")
        page.go(f"/annotate/{id}")
        page.press("#skipping summary")
        page.press("#noting summary")
        check("compare")
        for _ in range(3):
            act(page, lambda: page.press("[data-key=first]"))
        check("compare-done")
        for path in ("/page/campaigns", f"/page/campaigns/{id}"):
            page.go(path)
            check(path.split("/")[2] + str(path.count("/")))
        page.press("#close")
        page.until(lambda: page.text(".badge") == "closed")


def test_texts_of_campaigns_stay_text(client, open_page):
    campaigns = client.app.state.campaigns
    id = add_campaign(client, pairs=1, repeats=0.0)
    store = campaigns.store(id)
    page = open_page(client, "/annotate")
    enter(page, HOSTILE[0][:90])
    for column in ("dialogue", "first", "second"):
        store.database._db.execute(f"update pairs set {column} = ?", ["\n".join(HOSTILE)])
    page.go(f"/annotate/{id}")
    assert injected(page) == [None] and HOSTILE[0] in page.text("#first")
    page.press("#noting summary")
    page.run("document.querySelector('#note').value = arguments[0]", "\n".join(HOSTILE)[:1900])
    act(page, lambda: page.press("[data-key=tie]"))
    page.go(f"/page/campaigns/{id}")
    assert injected(page) == [None] and HOSTILE[0][:90] in page.text("tbody")
    assert store.judgements()[0].note == "\n".join(HOSTILE)[:1900].strip()


def test_nothing_tells_who_wrote_what(make_client, keys):
    client, sent = make_client(keys=keys[0]), bearer(keys[1]["annotate"])
    id = add_campaign(client, pairs=4, known=1)
    store = client.app.state.campaigns.store(id)
    secret = {"base", "reference", "3f9a1c0b77de", "qualification", "evaluation", "expected", "swapped", "policy"}
    secret |= {row["id"] for row in store.database._db.execute("select id from pairs")}
    secret -= {"training"}  # the texts of these pairs name it
    for _ in range(5):
        asked = client.get(f"/campaigns/{id}/next", headers=sent)
        page = client.get(f"/annotate/{id}", headers=sent)
        question = asked.json()["question"]
        assert set(question) == {"id", "dialogue", "first", "second", "number"}
        shown = re.sub(r"<(h2|title|p|article)\b[^>]*>|(A|B) (training|qualification) \d", "", asked.text + page.text)
        assert not [word for word in secret if word in shown]
        answer = {"question": question["id"], "outcome": "first"}
        told = client.post(f"/campaigns/{id}/answers", json=answer, headers=sent)
        assert told.status_code == 201 and not [word for word in secret if word in told.text]
    for path in (
        f"/campaigns/{id}",
        "/campaigns",
        f"/campaigns/{id}/judgements",
        "/page/campaigns",
        "/runs",
        "/page/runs",
    ):
        assert client.get(path, headers=sent).status_code == 403, path
    listed = client.get("/campaigns/open", headers=sent)
    assert not [word for word in secret if word in listed.text]
    links = re.findall(r'(?:href|src)="([^"]*)"', client.get(f"/annotate/{id}", headers=sent).text)
    assert len(links) > 6 and all(
        client.get(link, headers=sent).status_code == 200 for link in links if link != "#main"
    )
