"""Lists in pages: every entry once, also while new ones arrive."""

import json

import pytest

from service.http.runs.schemas import RunState
from service.http.runs.store import STATES, RunRecord
from tests.service.http.test_fuzz import finish

NEWEST = 1769860800.25


@pytest.fixture
def add(client):
    """A function: adds a record of a run that was submitted at a time."""
    store = client.app.state.runs.store

    def add(number: int, created: float, state: str = "succeeded") -> str:
        id = f"{number:012x}"
        store.add(RunRecord(id, created, "ann", None, "quickstart", 5, "quickstart/policy", {}, state), 10**6)
        return id

    return add


def pages(client, path, **query):
    """All pages of a list, found by the Link header; each must also be what `next` says."""
    answer = client.get(path, params=query)
    while True:
        page = answer.json()
        yield page
        link = answer.links.get("next")
        assert (link is None) == (page["next"] is None)
        if link is None:
            return
        answer = client.get(answer.url.join(link["url"]))


def test_pages_hold_every_run_once_newest_first(client, add):
    # Three were submitted at the same time, which their ids tell apart.
    ids = [add(number, NEWEST - max(0, number - 2)) for number in range(10)]
    expected = [*reversed(ids[:3]), *ids[3:]]
    for limit in (1, 2, 3, 9, 10, 11):
        found = list(pages(client, "/runs", limit=limit))
        assert [run["id"] for page in found for run in page["runs"]] == expected, limit
        assert {page["total"] for page in found} == {10} and len(found) == -(-10 // limit)


def test_runs_that_arrive_meanwhile_shift_no_page(client, add):
    ids = [add(number, NEWEST - number) for number in range(6)]
    found = []
    for number, page in enumerate(pages(client, "/runs", limit=2)):
        found += [run["id"] for run in page["runs"]]
        assert page["total"] == 6 + number
        add(100 + number, NEWEST + 1 + number)
    assert found == ids


def test_a_list_of_one_state_has_its_own_total_and_pages(client, add):
    ids = [add(number, NEWEST - number, ("failed", "stopped")[number % 2]) for number in range(10)]
    found = list(pages(client, "/runs", limit=2, state="stopped"))
    assert [run["id"] for page in found for run in page["runs"]] == ids[1::2]
    assert [page["total"] for page in found] == [5, 5, 5]
    assert client.get("/runs", params={"state": "running"}).json() == {"runs": [], "total": 0, "next": None}


def test_states_are_those_of_the_records():
    assert [str(state) for state in RunState] == list(STATES)


@pytest.mark.parametrize(
    ("query", "field"),
    [("cursor=2", "cursor"), ("cursor=1.5-xyz", "cursor"), ("cursor=nan-0123456789ab", "cursor"), ("limit=0", "limit"),
     ("limit=1001", "limit"), ("state=done", "state")],
)  # fmt: skip
def test_a_wrong_query_is_refused_by_its_name(client, query, field):
    answer = client.get(f"/runs?{query}")
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == f"query.{field}"


def test_steps_come_in_pages_too(client):
    run = finish(client, steps=7)
    found = list(pages(client, f"/runs/{run}/steps", limit=3, after=0))
    assert [[step["step"] for step in page["steps"]] for page in found] == [[1, 2, 3], [4, 5, 6]]
    assert [(page["total"], page["next"]) for page in found] == [(7, 3), (7, None)]
    assert found[0]["steps"][0] == {"step": 1, "reward/mean": 0.5, "watch/toxicity": None}
    with (client.app.state.runs.folder(run) / "steps.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step}) + "\n" for step in range(7, 1001))
    assert [len(page["steps"]) for page in pages(client, f"/runs/{run}/steps")] == [1000, 1]
