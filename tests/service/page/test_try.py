"""Summaries before and after training, for a user and for one whose key does not allow all."""

import pytest

from cluster.serving.client import TooSlow, Unavailable
from tests.service.http.test_fuzz import finish
from tests.service.page.page import add_adapter


def test_a_summary_is_shown_with_its_toxicity(client, open_page):
    page = open_page(client, "/page/try")
    page.press("#summarize")
    summary = page.until(lambda: page.text(".summary"))
    asked = {"dialogues": [page.value("#dialogue")], "seed": 1}
    assert [summary] == client.post("/summaries", json=asked).json()["summaries"][0]["texts"]
    toxicity = client.post("/scores", json={"texts": [summary]}).json()["scores"][0]["toxicity"]
    assert page.text("article .toxicity strong") == f"{100 * toxicity:.0f}%"
    assert page.run("return document.querySelector('progress.toxicity').value") == pytest.approx(toxicity, abs=1e-3)
    assert len(page.all("article")) == 1


def test_summaries_before_and_after_training_are_shown_side_by_side(client, open_page, start, config):
    older, run = finish(client), finish(client)
    add_adapter(client, run, start, config)
    page = open_page(client, "/page/try")
    assert page.value("#adapter") == run, "the newest"
    page.write("#seed", "")
    page.press("#summarize")
    before, after = page.until(lambda: [each.text for each in page.all(".summary")])
    assert page.text("article:last-child h2") == f"After training, run {run}"
    assert after == before, "an untrained adapter changes nothing"
    asked = {"dialogues": [page.value("#dialogue")]}
    assert [after] == client.post("/summaries", json=asked).json()["summaries"][0]["texts"], "greedy without a seed"
    page.go(f"/page/try?adapter={older}")
    assert page.value("#adapter") == older
    page.choose("#adapter", "none: before training only")
    page.press("#summarize")
    page.until(lambda: page.text(".summary"))
    assert len(page.all("article")) == 1


@pytest.mark.parametrize("error, status", [(TooSlow("late"), 504), (Unavailable("no replica"), 503)])
def test_errors_are_shown_and_nothing_is_lost(client, open_page, models, monkeypatch, error, status):
    async def fails(*_):
        raise error

    page = open_page(client, "/page/try")
    page.refused = {422, status}
    page.write("#dialogue", "A dialogue of my own.")
    page.write("#seed", "seven")
    page.press("#summarize")
    page.until(lambda: "must be a whole number" in page.text("#summaries"))
    page.write("#seed", "7")
    monkeypatch.setattr(models, "summarize", fails)
    page.press("#summarize")
    page.until(lambda: page.text("#summaries") == str(error))
    assert page.value("#dialogue") == "A dialogue of my own." and page.one("#summarize").is_enabled()


def test_lines_of_a_dialogue_reach_the_models_as_they_are(client, models, monkeypatch):
    seen = []

    async def notes(adapter, question):
        seen.append(question.dialogue)
        return "noted"

    monkeypatch.setattr(models, "summarize", notes)
    client.post("/page/try", data={"dialogue": "a\r\nb"})
    assert seen == ["a\nb"]


def test_a_user_whose_key_lacks_a_scope_sees_that(make_client, keys, browser, served, open_page):
    client = make_client(keys=keys[0])
    header = {"Authorization": f"Bearer {keys[1]['read']}"}
    run = client.app.state.runs.submit({"steps": 3}, "ann")[0].id
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": header})
    try:
        page = open_page(client, "/page/try")
        for path, button, scope in (("/page/try", "#summarize", "generate"), ("/page/start", "#start", "submit"),
                                    (f"/page/runs/{run}", "#stop", "submit")):  # fmt: skip
            page.go(path)
            page.until(lambda button=button: page.has(button))
            assert not page.one(button).is_enabled(), path
            assert page.text(".hint") == f"Your key lacks the scope {scope}, which this needs."
        assert page.text("header .key") == "read"
        page.refused = {403}
        # In one script: the next update disables it again.
        page.run("const stop = document.querySelector('#stop'); stop.disabled = false; stop.click()")
        page.until(lambda: page.text("#notice") == "this key lacks the scope 'submit'")
        assert page.text("#state .badge") == "pending"
    finally:
        browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})
