"""What a user does with runs: start, watch, stop, resume and scale them, and find one among many."""

import json

import pytest
from selenium.webdriver.common.by import By

from configs.errors import RunError
from service.run.lock import lock_folder
from tests.service.http.test_fuzz import finish


@pytest.fixture
def running(client):
    """Id of a run that is running, in its locked folder."""
    run = finish(client, "running")
    client.app.state.runs.jobs.states[f"{run}-1"] = "running"
    size = {"wanted": 2, "ready": 2, "loading": 0, "pending": 0}
    folder = client.app.state.runs.folder(run)
    (folder / "workers.json").write_text(json.dumps(dict.fromkeys(("rollout", "reward", "reference"), size)))
    with lock_folder(folder):
        yield run


def test_a_new_user_starts_stops_and_resumes_a_run(client, open_page):
    page, runs = open_page(client), client.app.state.runs
    assert page.browser.current_url == f"{page.url}/page/try", "there is no run yet"
    page.browser.find_element(By.LINK_TEXT, "Runs").click()
    assert page.text(".empty").startswith("No run yet.")
    page.browser.find_element(By.LINK_TEXT, "Start one").click()
    page.press("input[value=flan_t5_detox]")
    page.write("#steps", "3")
    page.press("#start")
    page.until(lambda: page.text("#state .badge") == "pending")
    (record,) = runs.store.newest()
    assert (record.base, record.steps, record.owner) == ("flan_t5_detox", 3, "local")
    assert record.request == {"base": "flan_t5_detox", "steps": 3} and "steps: 3" in page.text("pre")
    assert page.browser.current_url == f"{page.url}/page/runs/{record.id}"
    assert not page.has("#resume") and page.text("#doing") == "waiting for the cluster"
    page.press("#stop")
    page.until(lambda: page.text("#state .badge") == "stopped")
    assert not page.has("#stop") and not page.has("#state progress")
    page.press("#resume")
    page.until(lambda: page.text("#state .badge") == "pending")
    assert runs.store.get(record.id).attempt == 2 and page.has("#stop")
    page.go("/")
    assert page.rows()[0][:4] == [record.id, "pending", "0 of 3 steps", "flan_t5_detox"]


def test_a_form_that_is_sent_twice_starts_one_run(client):
    form = {"preset": "quickstart", "steps": "3", "seed": "", "form": "as by a double click"}
    first, second = (client.post("/page/start", data=form, follow_redirects=False) for _ in range(2))
    assert first.status_code == 303 and first.headers["Location"] == second.headers["Location"]
    other = client.post("/page/start", data={**form, "steps": "4"}, follow_redirects=False)
    assert other.headers["Location"] != first.headers["Location"]


def test_invalid_numbers_are_reported_beside_them_and_nothing_is_lost(client, open_page):
    page = open_page(client, "/page/start")
    page.refused = {422}
    page.press("input[value=quickstart_rloo]")
    for steps, seed, error in (("1000000", "1", "must be from 0 to 100000"), ("many", "-1", "valid integer"),
                               ("0", "-1", "greater than")):  # fmt: skip
        page.write("#steps", steps)
        page.write("#seed", seed)
        page.press("#start")
        page.until(lambda error=error: error in page.text("#steps-problem"))
        assert page.value("#steps") == steps and page.value("#seed") == seed
        assert page.value("[name=preset]:checked") == "quickstart_rloo"
    assert "greater than or equal to 0" in page.text("#seed-problem") and not page.text("#form-problem")
    assert client.get("/runs").json()["total"] == 0


def test_a_limit_is_reported_in_the_form(make_client, open_page):
    client = make_client("--serve.limits.runs=1")
    client.post("/runs", json={})
    page = open_page(client, "/page/start")
    page.refused = {429}
    page.press("#start")
    page.until(lambda: "1 of your runs are waiting or at work" in page.text("#form-problem"))
    assert client.get("/runs").json()["total"] == 1


def test_curves_grow_with_the_run_and_are_not_drawn_anew(client, open_page, running):
    page = open_page(client, f"/page/runs/{running}")
    page.until(lambda: page.curves() == [["Reward", 2]])
    page.run("document.querySelector('.plot svg').dataset.mark = 'same'")
    with (client.app.state.runs.folder(running) / "steps.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, "reward/mean": 1.0, "watch/rougeL": 80.0}) + "\n")
    page.until(lambda: page.curves() == [["Reward", 3], ["ROUGE-L of the training summaries", 1]])
    assert page.has(".plot svg[data-mark=same]") and page.text(".newest") == "1.00"
    client.app.state.runs.jobs.states[f"{running}-1"] = "succeeded"
    page.until(lambda: page.text("#state .badge") == "succeeded")
    assert not page.has("[hx-trigger]"), "nothing can change any more"
    for id, name in (("report", "report.html"), ("adapter", "adapter.zip")):
        link = page.one(f"#{id}").get_attribute("href")
        assert link == f"{page.url}/runs/{running}/files/{name}" and client.get(link).status_code == 200


@pytest.mark.slow
def test_the_page_of_a_stopped_run_notices_that_it_was_resumed_elsewhere(client, open_page, running):
    client.post(f"/runs/{running}/stop")
    page = open_page(client, f"/page/runs/{running}")
    page.until(lambda: page.text("#state .badge") == "stopped")
    assert client.post(f"/runs/{running}/resume").status_code == 202
    page.until(lambda: page.text("#state .badge") == "pending")


def test_the_page_shows_what_a_run_is_doing_before_and_after_its_steps(client, open_page, running):
    page, folder = open_page(client, f"/page/runs/{running}"), client.app.state.runs.folder(running)
    page.until(lambda: page.text("#doing") == "starting")
    loading = {"phase": "starting workers and loading models", "done": 0, "total": None, "seconds": 12.3,
               "seconds_left": None}  # fmt: skip
    (folder / "status.json").write_text(json.dumps(loading))
    page.until(lambda: page.text("#doing") == "starting workers and loading models, 12 s so far")
    assert page.one("#state progress").get_attribute("position") == "-1", "how long it takes is unknown"
    doing = {"phase": "evaluating after", "done": 2, "total": 27, "seconds": 4.0, "seconds_left": 250.0}
    (folder / "status.json").write_text(json.dumps(doing))
    page.until(lambda: page.text("#doing") == "evaluating after 2 of 27, about 4 min left")
    assert page.run("const bar = document.querySelector('#state progress'); return [bar.value, bar.max]") == [2, 27]
    page.go("/page/runs")
    assert page.rows()[0][2].split("\n")[-1] == "evaluating after 2 of 27, about 4 min left"


def test_the_workers_of_a_running_run_can_be_changed(client, open_page, running):
    page, folder = open_page(client, f"/page/runs/{running}"), client.app.state.runs.folder(running)
    page.refused = {409, 422}
    page.press("#scale")
    page.until(lambda: "enter a number" in page.text("#workers-message"))
    page.write("#reward-workers", "lots")
    page.press("#scale")
    page.until(lambda: page.text("#workers-message").startswith("reward: Input should be a valid integer"))
    page.next_polls()
    assert page.value("#reward-workers") == "lots" and page.text("#workers-message").startswith("reward:")
    page.write("#reward-workers", "4")
    page.press("#scale")
    page.until(lambda: page.text("#workers-message").startswith("Requested"))
    assert (folder / "scale/reward").read_text() == "4" and page.value("#reward-workers") == ""


def test_the_error_of_an_action_stays_where_the_action_was(client, open_page, running, monkeypatch):
    def gone(name):
        raise RunError("the cluster <i>does not respond</i>")

    page = open_page(client, f"/page/runs/{running}")
    page.refused = {503}
    monkeypatch.setattr(client.app.state.runs.jobs, "stop", gone)
    page.press("#stop")
    page.until(lambda: page.text("#state-message") == "the cluster <i>does not respond</i>")
    page.next_polls()
    assert page.text("#state-message") and not page.text("#workers-message") and page.one("#stop").is_enabled()


@pytest.mark.slow
def test_updates_leave_what_the_user_types_selects_and_reads(client, open_page, running):
    page, folder = open_page(client, f"/page/runs/{running}"), client.app.state.runs.folder(running)
    page.until(lambda: page.curves())
    with page.screen(390):
        page.one("#reference-workers").send_keys("12")
        page.run("document.querySelector('#reference-workers').setSelectionRange(1, 2); scrollTo(0, 300)")
        size = {"wanted": 3, "ready": 1, "loading": 2, "pending": 0}
        (folder / "workers.json").write_text(json.dumps({"reward": size, "reference": size}))
        page.until(lambda: "1 of 3" in page.text("#workers"))
        page.next_polls()
        field = page.run("const field = document.activeElement;"
                         "return [field.id, field.value, field.selectionStart, field.selectionEnd]")  # fmt: skip
        assert field == ["reference-workers", "12", 1, 2]
        assert page.run("return scrollY") == 300
        page.run("getSelection().selectAllChildren(document.querySelector('#state-title'))")
        page.next_polls()
        assert page.run("return String(getSelection())") == "State"


@pytest.mark.slow
def test_the_filter_of_the_runs_survives_updates_and_is_in_the_address(client, open_page, running):
    failed = finish(client, "failed", "out of memory")
    stopped = finish(client, "stopped")
    page = open_page(client, "/page/runs")
    assert [row[0] for row in page.rows()] == [stopped, failed, running]
    page.one("#search").send_keys("MEMORY")
    page.until(lambda: [row[0] for row in page.rows()] == [failed])
    page.next_polls()
    assert [row[0] for row in page.rows()] == [failed] and page.value("#search") == "MEMORY"
    assert page.run("return document.activeElement.id") == "search" and "q=MEMORY" in page.browser.current_url
    page.browser.refresh()
    assert [row[0] for row in page.rows()] == [failed] and page.value("#search") == "MEMORY"
    page.write("#search", "")
    page.choose("#state-filter", "stopped")
    page.until(lambda: [row[0] for row in page.rows()] == [stopped])
    page.next_polls()
    assert [row[0] for row in page.rows()] == [stopped] and "state=stopped" in page.browser.current_url
    page.choose("#state-filter", "queued")
    page.until(lambda: page.text("#runs") == "None of the 3 runs matches. Show all")


@pytest.mark.slow
def test_many_runs_are_listed_in_pages(make_client, open_page):
    client = make_client("--serve.limits.runs=100")
    ids = [client.post("/runs", json={"base": "quickstart_rloo"}).json()["id"] for _ in range(60)][::-1]
    page = open_page(client, "/page/runs?q=rloo")
    assert [row[0] for row in page.rows()] == ids[:25] and page.text(".pages span") == "1-25 of 60"
    for older in (ids[25:50], ids[50:]):
        page.browser.find_element(By.LINK_TEXT, "Older").click()
        page.until(lambda older=older: [row[0] for row in page.rows()] == older)
    assert not page.browser.find_elements(By.LINK_TEXT, "Older") and page.value("#search") == "rloo"
    page.next_polls()
    assert [row[0] for row in page.rows()] == ids[50:]


def test_an_outage_is_shown_and_forgotten_when_it_is_over(client, open_page, running, monkeypatch):
    page, store = open_page(client, f"/page/runs/{running}"), client.app.state.runs.store
    page.refused = {503}
    get = store.get

    def fails(id):
        raise RunError("the database is gone")

    monkeypatch.setattr(store, "get", fails)
    page.until(lambda: page.text("#notice") == "the database is gone")
    assert page.text("#state .badge") == "running", "what was shown stays"
    monkeypatch.setattr(store, "get", get)
    page.until(lambda: not page.text("#notice"))


def test_the_log_is_a_page(client, open_page, running, monkeypatch):
    jobs = client.app.state.runs.jobs
    monkeypatch.setattr(jobs, "log", lambda name: "step 1/45\n<b>bold</b>")
    page = open_page(client, f"/page/runs/{running}/log")
    assert page.text("#log") == "step 1/45\n<b>bold</b>"
