"""Generated requests break nothing, and no path leads to a file outside a run."""

import http.client
import json
import re
import threading
from itertools import product
from urllib.parse import quote

import jsonschema
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.run.artifacts import ADAPTER, FILES, IN_ADAPTER
from tests.campaigns import add_campaign

RIGHT = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance]
SECRET = "the canary sings"


def finish(client, state="succeeded", message="", steps=2):
    """Id of a run that has ended, with all its files."""
    runs = client.app.state.runs
    run = client.post("/runs", json={}).json()["id"]
    while not runs.store.change(runs.store.get(run), state, message):
        pass  # it was just being submitted
    folder = runs.folder(run)
    (folder / "adapter").mkdir(parents=True)
    for name in (*FILES, *(f"adapter/{name}" for name in IN_ADAPTER)):
        (folder / name).write_text("{}")
    lines = [{"step": step, "reward/mean": step / 2, "watch/toxicity": float("nan")} for step in range(steps)]
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.yaml").write_bytes(runs.paths.request(run).read_bytes())
    return run


def test_generated_requests_cause_no_server_error(make_client):
    client = make_client('--serve.hosts=["testserver"]', "--serve.limits.runs=100000", "--serve.limits.campaigns=999")
    run, files, seen = finish(client), [*FILES, ADAPTER], set()
    campaign = add_campaign(client, pairs=500)
    client.app.state.campaigns.preparation.wake = lambda: None  # the models would be busy for hours
    api = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    operations = [result.ok() for result in api.get_all_operations()]

    def check(case):
        path = case.path_parameters
        if re.fullmatch("[0-9a-f]{11}[0-7]", path.get("run", "")):
            path["run"] = run  # half of the time
        if "name" in path and path["run"] == run:
            path["name"] = files[len(path["name"]) % len(files)]
        if re.fullmatch("[0-9a-f]{12}", path.get("campaign", "")):
            path["campaign"] = campaign
            if case.operation.label == "POST /campaigns/{campaign}/answers" and isinstance(case.body, dict):
                ask_as_generated(client, case, campaign)
        answer = case.call()
        seen.add((case.operation.label, answer.status_code))
        # An event stream is described as text, as clients get it; schemathesis would compare a list of its events.
        is_text = case.operation.path.endswith("/events")
        case.validate_response(answer, checks=RIGHT if is_text else [*RIGHT, response_schema_conformance])

    for operation, mode in product(operations, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)):
        if mode == GenerationMode.NEGATIVE and not (operation.body or list(operation.iter_parameters())):
            continue  # it has no input that could be wrong
        most = 4 if operation.path == "/summaries" else 14
        bounds = settings(max_examples=most, derandomize=True, deadline=None, database=None,
                          suppress_health_check=list(HealthCheck))  # fmt: skip
        bounds(given(operation.as_strategy(generation_mode=mode))(check))()
    succeed = {label for label, status in seen if status < 300}
    ended = {
        "POST /runs/{run}/stop",
        "POST /runs/{run}/resume",
        "PATCH /runs/{run}/workers",
        "PATCH /runs/{run}/reward",
    }
    assert succeed == {operation.label for operation in operations} - ended
    assert judged(client, campaign)
    assert {(label, 409) for label in ended} <= seen


def ask_as_generated(client, case, campaign):
    """Make the question of a generated answer one that its annotator was asked."""
    if re.fullmatch("[0-9a-f]{16}", str(case.body.get("question"))):
        asked = client.get(f"/campaigns/{campaign}/next", params=case.query)
        if asked.status_code == 200:
            case.body["question"] = asked.json()["question"]["id"]


def judged(client, campaign):
    """The exported lines of a campaign."""
    return client.get(f"/campaigns/{campaign}/judgements").text.splitlines()


def contents(document, operation):
    """Media type and content of the request body and of successful responses."""
    answers = [answer for status, answer in operation["responses"].items() if status < "300"]
    assert answers and all(answer.get("content") for answer in answers)
    for part in (operation.get("requestBody", {}), *answers):
        yield from part.get("content", {}).items()


def examples(document, content):
    """The examples of a content; for a list, those of its entries."""
    found = [example["value"] for example in content.get("examples", {}).values()]
    found += [content["example"]] if "example" in content else []
    schema = content.get("schema", {})
    several = schema.get("type") == "array"
    schema = schema.get("items", schema) if several else schema
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found + [[example] if several else example for example in schema.get("examples", [])]


def test_every_operation_is_described_with_valid_examples(client):
    document = client.get("/openapi.json").json()
    count = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], path
            for parameter in operation.get("parameters", []):
                assert parameter["schema"].get("examples") or parameter.get("examples") or not parameter["required"]
            for kind, content in contents(document, operation):
                found = examples(document, content)
                assert found, f"{method} {path} needs an example of its {kind}"
                for example in found if "schema" in content else ():
                    jsonschema.validate(example, {**content["schema"], "components": document["components"]})
                count += len(found)
    assert count > 25


def test_examples_of_requests_are_accepted(client):
    client.app.state.campaigns.preparation.wake = lambda: None
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for body in operations.get("post", {}).get("requestBody", {}).get("content", {}).values():
            for example in () if "{campaign}" in path else examples(document, body):
                answer = client.post(path, json=example)
                assert answer.status_code in (200, 201), (path, answer.text)


def test_events_end_with_their_run_and_those_of_an_unknown_run_are_404(client):
    run = finish(client, "failed", "steps: <b>", steps=3)
    with client.stream("GET", f"/runs/{run}/events", headers={"Last-Event-ID": "0"}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert [line for line in lines if line.startswith("event")] == ["event: step"] * 2 + ["event: state", "event: end"]
    assert '"watch/toxicity":null' in "".join(lines).replace(" ", "")
    assert client.get("/runs/0123456789ab/events").status_code == 404


def hostile_paths(*targets):
    """Encodings of ".." and of "/" at several depths to files of these names, then absolute paths."""
    ups = ("..", "%2e%2e", ".%2E", "%252e%252e", "..%00", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "%uff0e%uff0e",
           quote("\uff0e\uff0e"), quote("\u2025"), "..;", "....", "..%0d%0a", "%2e%2e%20")  # fmt: skip
    slashes = ("/", "%2f", "%5c", "\\", "%252f", "%c0%af", quote("\u2215"), "//", "/./", "%00/", "%2F%2e/")
    relative = [f"{(up + slash) * depth}{target}" for up, slash in product(ups, slashes)
                for depth, target in ((1, targets[0].name), (2, targets[1].name))]  # fmt: skip
    absolute = [f"{before}{quote(str(target), safe=safe)}{after}" for target in targets
                for before in ("", "/", "file://", "file:", "C:", "%00", "\\\\localhost", "../" * 20, "..%2f" * 20)
                for safe in ("/", "") for after in ("", "%00", "%00.html")]  # fmt: skip
    return [*relative, *absolute]


def test_no_path_leads_to_a_file_outside(client, served, tmp_path):
    run = finish(client)
    folder = client.app.state.runs.folder(run)
    canaries = [tmp_path / "runs/canary.txt", tmp_path / "canary.txt", folder / "canary.txt", folder / "adapter/canary"]
    for canary in canaries:
        canary.write_text(SECRET)
    paths = hostile_paths(*canaries)
    assert len(set(paths)) > 300
    places = [f"/runs/{run}/files/{{}}", f"/runs/{run}/{{}}", "/runs/{}", "/runs/{}/files/canary.txt", "/docs/files/{}",
              "/page/static/{}", "/page/static/0123456789ab/{}", "/page/runs/{}", "/page/{}", "/{}"]  # fmt: skip
    server = http.client.HTTPConnection(served(client).removeprefix("http://"))
    for path in (*paths, *(canary.name for canary in canaries), "adapter/canary", "adapter%2fcanary", "", ".", "%00"):
        for place in places:
            server.putrequest("GET", place.format(path).replace(" ", "%20"))
            server.endheaders()
            answer = server.getresponse()
            body = answer.read()
            assert answer.status < 500 and SECRET.encode() not in body, (place, path, answer.status)


def test_a_run_that_cannot_be_followed_does_not_affect_the_others(client, monkeypatch):
    runs, failed = client.app.state.runs, threading.Event()
    bad, state, change = client.post("/runs", json={}).json()["id"], runs.jobs.state, runs.store.change

    def fails(name):
        if name.startswith(bad):
            raise ValueError("unexpected")
        return state(name)

    def changes(record, state, *rest):
        done = change(record, state, *rest)
        if state == "failed":
            failed.set()
        return done

    monkeypatch.setattr(runs.jobs, "state", fails)
    monkeypatch.setattr(runs.jobs, "log", lambda name: "error: half a character \ud800")
    monkeypatch.setattr(runs.store, "change", changes)
    good = client.post("/runs", json={}).json()["id"]
    runs.jobs.states[f"{good}-1"] = "failed"
    assert failed.wait(30)
    assert client.get(f"/runs/{good}").json()["message"] == "half a character ?"
    assert client.get(f"/runs/{good}/log").text == "error: half a character ?"


def test_a_run_with_very_many_metrics_is_listed_like_any_other(client):
    run = finish(client)
    metrics = {f"group/{'topic' * 100}{number}/reward": 0.5 for number in range(300)}
    with (client.app.state.runs.folder(run) / "steps.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, **metrics}) + "\n" for step in (2, 3))
        file.write('{"step": 4, "being wri')
    assert client.get("/runs").json()["runs"][0]["step"] == 4
    assert [step["step"] for step in client.get(f"/runs/{run}/steps", params={"after": 1}).json()["steps"]] == [2, 3]
