"""Campaigns over HTTP: how they are made, and that bad input is refused by a clear answer that changes nothing."""

import asyncio
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.serving.client import Unavailable
from learner.adapter import save_adapter
from learner.checkpoints import save_checkpoint
from learner.lora import lora_config
from learner.seeds import seed_from
from learner.types import TrainState
from service.campaigns.draw import CANDIDATES
from service.campaigns.store import read_judgements
from service.http.campaigns import preparation
from tests.campaigns import add_campaign, make_store
from tests.service.http.test_access import bearer
from tests.service.http.test_audit import facts, lines
from tests.service.http.test_fuzz import finish, judged
from tests.service.http.test_outages import full_disk as full_disk
from workers.inference.scorer import Verdict

SPEC = {"name": "March", "policies": ["base", "reference"], "pairs": 10, "evaluation": 0.2}


@pytest.fixture(autouse=True)
def quick(models, monkeypatch):
    """Texts and scores that take no time; tests/service/http/test_serve.py has the models themselves."""

    async def summarize(adapter, request):
        return f"{seed_from(request.dialogue, request.seed) % 1000} by {adapter[-9:]}"

    async def score(item):
        return Verdict(seed_from(item.completion) / 2**63, {}, {}, None)

    monkeypatch.setattr(models, "summarize", summarize)
    monkeypatch.setattr(models, "score", score)


def until_made(client, id):
    """The campaign once it is no longer prepared."""
    while (found := client.get(f"/campaigns/{id}").json())["state"] == "preparing":
        pass
    return found


def pairs_of(client, id):
    db = client.app.state.campaigns.store(id).database._db
    return [dict(row) for row in db.execute("select * from pairs order by position")]


def test_a_campaign_is_made_of_summaries_and_what_the_reward_is_least_sure_of(client, models, monkeypatch):
    scored, score = {}, models.score

    async def noted(item):
        scored[item.completion] = (await score(item)).total
        return await score(item)

    monkeypatch.setattr(models, "score", noted)
    known = {"prompt": "Hello.", "first": "Greeting.", "second": "x", "expected": "first"}
    answer = client.post("/campaigns", json=SPEC | {"qualification": [known]})
    assert answer.status_code == 201 and answer.json()["state"] == "preparing"
    id = answer.json()["id"]
    assert answer.headers["Location"] == f"/campaigns/{id}"
    found = until_made(client, id)
    assert found["state"] == "open" and found["done"] == found["total"] > 0
    wanted = {role: (one["pairs"], one["wanted"]) for role, one in found["pairs"].items()}
    assert wanted == {"evaluation": (2, 2), "training": (8, 8), "qualification": (1, None)}
    pairs = pairs_of(client, id)
    assert all(
        {one["first_policy"], one["second_policy"]} == {"base", "reference"} for one in pairs if not one["expected"]
    )
    assert len({one["dialogue"] for one in pairs}) == 11, "every dialogue once before any twice"
    assert all(
        one["prompt"] == f"Summarize the following conversation.\n\n{one['dialogue']}\n\nSummary:\n" for one in pairs
    )

    def gap(one):
        return abs(scored[one["first"]] - scored[one["second"]])

    both = list(scored)  # the two of each candidate, one after the other
    gaps = sorted(abs(scored[a] - scored[b]) for a, b in zip(both[::2], both[1::2], strict=True))
    asked = [one for one in pairs if one["first"] in scored and one["second"] in scored]
    assert len(gaps) == 4 * CANDIDATES and sorted(map(gap, asked)) == gaps[:4]
    assert {one["role"] for one in asked} == {"training"}, "evaluation pairs are always drawn at random"
    again = client.post("/campaigns", json=SPEC | {"qualification": [known]}).json()["id"]
    until_made(client, again)
    texts = [[(one["first"], one["second"]) for one in pairs_of(client, each)] for each in (id, again)]
    assert texts[0] == texts[1], "the seed decides all"


def test_runs_their_starts_and_their_checkpoints_can_be_compared(client, start, config, monkeypatch):
    run = finish(client)
    folder = client.app.state.runs.folder(run)
    policy = start[0]
    save_adapter(policy, lora_config(config.policy), config.policy.model, folder / "adapter")
    save_checkpoint(folder / "checkpoints", TrainState(policy, start[1], policy), 9)
    spec = SPEC | {"policies": [run, f"{run}@start", f"{run}@0"], "pairs": 3, "evaluation": 1.0}
    id = client.post("/campaigns", json=spec).json()["id"]
    assert until_made(client, id)["state"] == "open"
    assert Counter(one[side] for one in pairs_of(client, id) for side in ("first_policy", "second_policy")) == {
        name: 2 for name in spec["policies"]
    }
    assert not (client.app.state.campaigns.folder / id / "policies").exists()


def test_a_campaign_that_cannot_be_made_says_why(client):
    for change, reason in (({"pairs": 9999}, "ask for fewer pairs"), ({"split": "nowhere"}, "has no split nowhere"),
                           ({"split": "test[:0]"}, "has no rows"), ({"split": "validation[:1]"}, "fewer")):  # fmt: skip
        id = client.post("/campaigns", json=SPEC | change).json()["id"]
        found = until_made(client, id)
        assert found["state"] == "failed" and reason in found["message"], found
        assert client.get(f"/campaigns/{id}/next").status_code == 409
        assert client.post(f"/campaigns/{id}/close").json()["state"] == "closed"


def test_making_goes_on_after_an_outage_and_after_the_service_was_killed(make_client, models, monkeypatch, tmp_path):
    client, asked, summarize = make_client(), [], models.summarize
    broken = threading.Event()

    async def fails(adapter, request):
        if len(asked) >= 16:
            broken.set()
            raise Unavailable("no replica")
        asked.append((adapter, request))
        return await summarize(adapter, request)

    monkeypatch.setattr(models, "summarize", fails)
    id = client.post("/campaigns", json=SPEC | {"pairs": 40}).json()["id"]
    assert broken.wait(60)
    kept = client.app.state.campaigns.store(id).completions()
    client.__exit__(None, None, None)
    assert 0 < len(kept) <= len(asked) and client.app.state.campaigns.store(id).record().state == "preparing"
    client.app.state.campaigns.close()
    client.app.state.runs.store.close()
    done = len(asked)
    monkeypatch.setattr(models, "summarize", lambda *request: asked.append(request) or summarize(*request))
    again = make_client()
    again.portal.call(again.app.state.campaigns.prepare)  # as `serve` does when it starts
    assert until_made(again, id)["state"] == "open"
    new = {request.dialogue for _, request in asked[done:]}
    assert new and not new & {dialogue for dialogue, _, _ in kept}, "nothing is made twice"


def test_an_outage_is_waited_for_and_at_last_reported(client, models, monkeypatch):
    async def fails(*_):
        raise Unavailable("no replica of summaries is running")

    monkeypatch.setattr(models, "summarize", fails)
    monkeypatch.setattr(preparation, "PAUSE", 0.0)
    id = client.post("/campaigns", json=SPEC).json()["id"]
    found = until_made(client, id)
    assert (found["state"], found["message"]) == ("failed", "no replica of summaries is running")


def test_a_campaign_closed_while_it_is_made_stays_closed(client, models, monkeypatch):
    closed, summarize = threading.Event(), models.summarize

    async def waits(*request):
        while not closed.is_set():
            await asyncio.sleep(0.01)
        return await summarize(*request)

    monkeypatch.setattr(models, "summarize", waits)
    id = client.post("/campaigns", json=SPEC | {"pairs": 60}).json()["id"]
    assert client.post(f"/campaigns/{id}/close").json()["state"] == "closed"
    closed.set()
    last = client.post("/campaigns", json=SPEC).json()["id"]  # made after the one that was closed
    assert until_made(client, last)["state"] == "open"
    assert until_made(client, id)["pairs"] == {} and client.post(f"/campaigns/{id}/close").status_code == 409


CREATE = {
    "no policy": ({"policies": []}, 422, "body.policies"),
    "an unknown run": ({"policies": ["base", "0123456789ab"]}, 422, "policies"),
    "an unknown checkpoint": ({"policies": ["base", "0123456789ab@7"]}, 422, "policies"),
    "a path": ({"policies": ["../../etc", "base"]}, 422, "body.policies.0"),
    "the same twice": ({"policies": ["base", "base"]}, 422, "body.policies"),
    "a reference alone": ({"policies": ["reference"]}, 422, "body"),
    "too many pairs": ({"pairs": 10_001}, 422, "body.pairs"),
    "a name that is none": ({"name": ""}, 422, "body.name"),
    "an unknown criterion": ({"criteria": ["beauty"]}, 422, "body.criteria.0"),
    "too many repeats": ({"repeats": 0.9}, 422, "body.repeats"),
    "a known answer without texts": ({"qualification": [{"expected": "first"}]}, 422, "body.qualification.0.prompt"),
    "half a character": ({"name": "\ud800"}, 422, "body.name"),
    "a setting that is none": ({"policy": "base"}, 422, "body.policy"),
}


@pytest.mark.parametrize("name", CREATE)
def test_a_campaign_that_is_asked_for_wrongly_is_not_made(client, name):
    change, status, field = CREATE[name]
    answer = client.post("/campaigns", content=json.dumps(SPEC | change), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0].get("field")) == (status, field), answer.text
    assert client.get("/campaigns").json() == {"campaigns": [], "damaged": {}}


ANSWERS = {
    "an unknown question": ({"question": "0123456789abcdef"}, 404, "no question of yours"),
    "no id": ({"question": "../x"}, 422, "body.question"),
    "no outcome": ({"outcome": None}, 422, "body.outcome"),
    "an unknown outcome": ({"outcome": "both"}, 422, "body.outcome"),
    "a skip without a reason": ({"outcome": "skip", "note": " "}, 422, "say why you skip it"),
    "a criterion that is not asked for": ({"criteria": {"coherence": "tie"}}, 422, "does not ask for coherence"),
    "a criterion without an answer": ({"criteria": {"harm": "skip"}}, 422, "body.criteria.harm"),
    "a long note": ({"note": "x" * 2001}, 422, "body.note"),
    "half a character": ({"note": "\ud800"}, 422, "body.note"),
    "a setting that is none": ({"seconds": 1}, 422, "body.seconds"),
    "somebody else's question": ({"question": "hers"}, 404, "no question of yours"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_refused_and_changes_nothing(client, name):
    id = add_campaign(client, criteria=("harm",))
    mine, hers = (
        client.get(f"/campaigns/{id}/next", params={"annotator": person}).json()["question"]["id"]
        for person in ("local", "ann")
    )
    change, status, said = ANSWERS[name]
    body = {"question": mine, "outcome": "first"} | change
    body["question"] = hers if body["question"] == "hers" else body["question"]
    sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    answer = client.post(f"/campaigns/{id}/answers", **sent)
    assert answer.status_code == status and said in answer.text, answer.text
    assert judged(client, id) == [] and client.get(f"/campaigns/{id}/next").json()["question"]["id"] == mine


def test_requests_about_no_campaign_and_no_answer(client):
    id, body = add_campaign(client), {"question": "0123456789abcdef", "outcome": "tie"}
    for method, path in (("GET", ""), ("GET", "/next"), ("POST", "/answers"), ("DELETE", "/answers/last"),
                         ("POST", "/close"), ("GET", "/judgements"), ("DELETE", "/annotators/ann")):  # fmt: skip
        sent = {"json": body} if path == "/answers" else {}
        missing = client.request(method, f"/campaigns/0123456789ff{path}", **sent)
        assert missing.status_code == 404 and "no campaign '0123456789ff'" in missing.text, path
        assert client.request(method, f"/campaigns/..%2fx{path}", **sent).status_code in (404, 422), path
    for path in ("/annotate/0123456789ff", "/page/campaigns/0123456789ff"):
        assert client.get(path).status_code == 404 and "no campaign" in client.get(path).text
    assert client.delete(f"/campaigns/{id}/answers/last").status_code == 409
    assert client.delete(f"/campaigns/{id}/annotators/ann").json() == {"deleted": 0}


def test_an_answer_sent_twice_is_one_and_a_changed_one_needs_an_undo(client):
    id = add_campaign(client)
    question = client.get(f"/campaigns/{id}/next").json()["question"]
    body = {"question": question["id"], "outcome": "first"}
    assert [client.post(f"/campaigns/{id}/answers", json=body).status_code for _ in range(3)] == [201, 200, 200]
    refused = client.post(f"/campaigns/{id}/answers", json=body | {"outcome": "tie"})
    assert refused.status_code == 409 and "take that back first" in refused.text
    assert client.delete(f"/campaigns/{id}/answers/last", params={"question": "0123456789abcdef"}).status_code == 409
    undone = client.delete(f"/campaigns/{id}/answers/last", params={"question": question["id"]})
    assert undone.json() == question == client.get(f"/campaigns/{id}/next").json()["question"]
    assert client.post(f"/campaigns/{id}/answers", json=body | {"outcome": "tie"}).status_code == 201
    [line] = judged(client, id)
    assert json.loads(line)["outcome"] == "tie" and json.loads(line)["annotator"] == "local"


def test_a_key_answers_under_its_own_name_only(make_client, keys):
    client = make_client(keys=keys[0])
    id, mine = add_campaign(client), bearer(keys[1]["annotate"])
    asked = client.get(f"/campaigns/{id}/next", params={"annotator": "bob"}, headers=mine)
    assert asked.status_code == 422 and "answers as 'annotate'" in asked.text
    question = client.get(f"/campaigns/{id}/next", headers=mine).json()["question"]["id"]
    body = {"question": question, "outcome": "tie"}
    for scope in ("read", "generate", "submit"):
        assert client.post(f"/campaigns/{id}/answers", json=body, headers=bearer(keys[1][scope])).status_code == 403
    form = {"question": question, "outcome": "tie"}
    client.cookies.set("annotator", "bob")
    answered = client.post(f"/annotate/{id}", data=form, headers=mine, follow_redirects=False)
    assert answered.status_code == 303 and answered.headers["Location"] == f"/annotate/{id}"
    found = client.get(f"/campaigns/{id}/judgements", headers=bearer(keys[1]["submit"])).text.splitlines()
    assert [json.loads(line)["annotator"] for line in found] == ["annotate"]


def test_people_answer_at_once_while_others_export(client):
    id = add_campaign(client, pairs=24, answers_per_pair=2, repeats=0.0)
    client.app.state.campaigns.store(id).database._db.execute("pragma synchronous = off")
    exports = []

    def work(person):
        sent = {"params": {"annotator": person}}
        while question := client.get(f"/campaigns/{id}/next", **sent).json()["question"]:
            body = {"question": question["id"], "outcome": "first", "note": person}
            for _ in range(2):  # as a client does that got no answer
                assert client.post(f"/campaigns/{id}/answers", json=body, **sent).status_code in (200, 201)
            exports.append(len(judged(client, id)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ("ann", "bob", "cem", "dee")))
    said = [json.loads(line) for line in judged(client, id)]
    assert len(said) == 48 == max(exports) and set(Counter(one["pair"] for one in said).values()) == {2}
    assert len({(one["pair"], one["annotator"]) for one in said}) == 48
    assert all(one["note"] == one["annotator"] for one in said)
    folder = client.app.state.campaigns.folder / id
    assert [one.pair for one in read_judgements(folder)] == [one["pair"] for one in said]


def test_on_a_full_disk_answers_are_refused_and_none_is_lost(full_disk, make_client):
    client = make_client()
    id = add_campaign(client, pairs=9, repeats=0.0)
    bodies = []
    for _ in range(3):
        question = client.get(f"/campaigns/{id}/next").json()["question"]["id"]
        bodies.append({"question": question, "outcome": "tie", "note": "n" * 2000})
        if len(bodies) < 3:
            assert client.post(f"/campaigns/{id}/answers", json=bodies[-1]).status_code == 201
    full_disk()
    refused = client.post(f"/campaigns/{id}/answers", json=bodies[-1])
    while refused.status_code == 201:  # there was room in the file
        client.delete(f"/campaigns/{id}/answers/last")
        refused = client.post(f"/campaigns/{id}/answers", json=bodies[-1])
    assert refused.status_code == 503 and "full" in refused.text
    assert client.post("/campaigns", json=SPEC).status_code == 503 and len(judged(client, id)) == 2
    (client.app.state.runs.paths.root / "ballast").unlink()
    assert client.post(f"/campaigns/{id}/answers", json=bodies[-1]).status_code == 201
    assert len(judged(client, id)) == 3


def test_a_damaged_campaign_leaves_the_others_alone(make_client, tmp_path):
    folder = tmp_path / "runs/campaigns"
    damaged, whole = make_store(folder), make_store(folder)
    for store in (damaged, whole):
        store.close()
    (damaged.folder / "campaign.db").write_bytes(b"not a database" * 1000)
    (folder / "0123456789ee").mkdir()  # its service was killed before it was recorded
    client = make_client()
    found = client.get("/campaigns").json()
    assert [one["id"] for one in found["campaigns"]] == [whole.folder.name]
    assert list(found["damaged"]) == [damaged.folder.name] and "cannot be used" in found["damaged"][damaged.folder.name]
    for path in ("", "/next", "/judgements"):
        refused = client.get(f"/campaigns/{damaged.folder.name}{path}")
        assert refused.status_code == 503 and "restore it from a copy" in refused.text
        assert client.get(f"/campaigns/{whole.folder.name}{path}").status_code == 200
    assert client.get("/page/campaigns").status_code == 200 and client.get("/annotate").status_code == 200
    assert client.get("/campaigns/0123456789ee").status_code == 404


def test_changes_by_owners_are_audited_and_answers_are_not(client, tmp_path):
    id = client.post("/campaigns", json=SPEC).json()["id"]
    until_made(client, id)
    question = client.get(f"/campaigns/{id}/next").json()["question"]["id"]
    client.post(f"/campaigns/{id}/answers", json={"question": question, "outcome": "tie"})
    client.get(f"/campaigns/{id}/judgements")
    client.post(f"/campaigns/{id}/close")
    client.delete(f"/campaigns/{id}/annotators/local")
    file = tmp_path / "runs/audit.jsonl"
    assert facts(file, "what", "run", "result") == [
        ("create_campaign", id, 201), ("close_campaign", id, 202), ("forget_annotator", id, 200),
    ]  # fmt: skip
    assert json.loads(lines(file)[0]["request"]) == SPEC


def test_the_campaigns_of_a_key_are_bounded(make_client):
    client = make_client("--serve.limits.campaigns=1")
    id = client.post("/campaigns", json=SPEC).json()["id"]
    refused = client.post("/campaigns", json=SPEC)
    assert refused.status_code == 429 and "serve.limits.campaigns" in refused.text and refused.headers["Retry-After"]
    client.post(f"/campaigns/{id}/close")
    assert client.post("/campaigns", json=SPEC).status_code == 201


def test_pages_lead_to_campaigns_once_there_is_one(client):
    assert "/annotate" not in client.get("/page/try").text
    assert client.get("/annotate").status_code == 200
    add_campaign(client)
    page = client.get("/page/try").text
    assert 'href="/annotate"' in page and 'href="/page/campaigns"' in page


def test_a_name_is_asked_for_where_there_are_no_keys(client):
    id = add_campaign(client)
    assert client.get(f"/annotate/{id}", follow_redirects=False).headers["Location"] == "/annotate"
    for wrong in ("", " ", "x" * 101, "a\nb"):
        assert client.post("/annotate", data={"name": wrong}).status_code == 422, wrong
    named = client.post("/annotate", data={"name": " Zoë ;=<b> "}, follow_redirects=False)
    cookie = named.headers["Set-Cookie"]
    assert named.status_code == 303 and {"HttpOnly", "Path=/annotate", "SameSite=strict"} <= set(cookie.split("; "))
    client.cookies.set("annotator", cookie.partition("=")[2].partition(";")[0])
    assert "as Zoë ;=&lt;b&gt;" in client.get(f"/annotate/{id}").text
    client.cookies.clear()
    assert client.post(f"/annotate/{id}", data={"outcome": "tie"}, follow_redirects=False).status_code != 500
