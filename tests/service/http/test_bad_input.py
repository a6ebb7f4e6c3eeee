"""Invalid requests are refused with the name of the field; nothing is started, and nothing breaks."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice, pairwise

import pytest
from pydantic import ValidationError

from configs.campaigns import CampaignConfig
from configs.errors import UsageError
from configs.load import validate
from configs.presets import merge, read_yaml
from configs.schema import Config
from service.http.campaigns.schemas import AnswerRequest
from service.http.models.schemas import ScoresRequest, SummariesRequest
from service.http.runs.request_rules import CLOSED
from service.http.runs.reward_schemas import RewardSettings
from service.http.runs.schemas import WorkerNumbers

JSON = {"Content-Type": "application/json"}
PRESETS = {name: read_yaml(name) for name in ("quickstart", "quickstart_grpo", "quickstart_grouped_ppo")}
COUNT = 2000
# As JSON text: includes what Python would not write.
NEVER = ("NaN", "1e999", "-1e999", '"\\ud800"', '"a\\udfffb{text}"', f'"{"x" * 10_001}"')
OFTEN = ("null", "true", "-1", "0", "-1e300", "1.5", "7e-400", str(10**30), str(-(10**30)))
OFTEN += ('""', '"\\u0000"', '"1-"', '"many"', '"../x"')
OFTEN += ("[]", "{}", "[[]]", "[null]", '[{"a": 1}]', '{"": 1}', '{"type": "none"}', '{"type": null}', '{"type": {}}')
KEYS = ("sede", "", " ", "__class__", "\ud800", "a.b", "type ", "\u202e", "x" * 300)
NEEDED = {"words": 3, "model": "quickstart/reward", "label": "nothate", "function": "os:getcwd", "pattern": "a",
          "url": "http://localhost:1", "metric": "folder", "score": "f1",
          "members": [{"model": "quickstart/reward", "label": label} for label in ("nothate", "hate")]}  # fmt: skip


def options(schema: dict, root: dict) -> list[dict]:
    """The alternatives that a schema allows."""
    schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    several = schema.get("oneOf") or schema.get("anyOf")
    return [inner for option in several for inner in options(option, root)] if several else [schema]


def kinds(schema: dict, root: dict) -> frozenset[str]:
    """JSON types that a schema allows; `enum` for an enumeration."""
    return frozenset("enum" if {"enum", "const"} & set(option) else option["type"] for option in options(schema, root))


def fields(schema: dict, root: dict, path: tuple = (), tags: tuple = ()) -> Iterator[tuple[tuple, tuple, frozenset]]:
    """Each setting of a schema: its path, the values that the tagged sections around it need, and its types; `section`
    for one with known keys."""
    for variant in options(schema, root):
        if "items" in variant:
            yield (*path, 0), tags, kinds(variant["items"], root)
            yield from fields(variant["items"], root, (*path, 0), tags)
        for named in variant.get("patternProperties", {}).values():
            yield from fields(named, root, (*path, "some"), tags)
        properties = variant.get("properties", {})
        tag = properties.get("type", {}).get("const")
        whole = {"type": tag} | {name: NEEDED[name] for name in variant.get("required", ())} if tag else {}
        around = (*tags, *(((*path, name), value) for name, value in whole.items()))
        if properties:
            yield path, around, frozenset({"section"})
        for name, inner in properties.items():
            yield (*path, name), around, kinds(inner, root)
            yield from fields(inner, root, (*path, name), around)


def put(body: dict, path: tuple, value: object) -> dict:
    """The body with a value at a path, in which 0 is the first place of a list."""
    here = body
    for key, following in pairwise(path):
        inner = [{}] if following == 0 else {}
        here = here[0] if key == 0 else here.setdefault(key, inner)
    if path[-1] == 0:
        here[0] = value
    else:
        here[path[-1]] = value
    return body


def with_value(start: dict, path: tuple, around: tuple, value: object) -> dict:
    """A body with a value at a path, and the values that the sections around it need."""
    body = deepcopy(start)
    for place, needed in around:
        put(body, place, deepcopy(needed))
    return put(body, path, value)


def broken(model: type, start: dict) -> Iterator[tuple[str, tuple]]:
    """Bodies as text, each with one value that may be wrong, and the path of that value."""
    schema = model.model_json_schema()
    unique = {repr(found): found for found in fields(schema, schema)}
    for path, around, types in unique.values():
        section = "section" in types
        for hole in [(*path, key) for key in KEYS] if section else [path]:
            text = json.dumps(with_value(start, hole, around, "@hole@"))
            for value in ("1",) if section else (*NEVER, *OFTEN):
                yield text.replace('"@hole@"', value), hole


def is_open(path: tuple) -> bool:
    name = ".".join(map(str, path))
    return not any(name == closed or name.startswith(f"{closed}.") for closed in CLOSED)


def is_wrong(text: str) -> bool:
    """True if the config's own rules refuse it; those of the service are left out."""
    given = json.loads(text)
    try:
        validate(merge(PRESETS[given.pop("base")], given))
    except UsageError:
        return True
    return any(value in text for value in NEVER)


@pytest.fixture(scope="module")
def malformed() -> list[tuple[str, tuple]]:
    """Configs with one thing wrong in each, spread over all settings."""
    found = list(dict.fromkeys(case for base in PRESETS for case in broken(Config, {"base": base}) if is_open(case[1])))
    random.Random(11).shuffle(found)
    places = Counter()
    found.sort(key=lambda case: places.update([case[1]]) or places[case[1]])
    return list(islice((case for case in found if is_wrong(case[0])), COUNT))


def names(errors: list[dict], path: tuple) -> bool:
    """True if an error names the path, or anything in the section around it."""
    keys = [key.encode(errors="backslashreplace").decode() for key in path if key != 0]
    field, section = ".".join(keys), ".".join(keys[:-1])
    reported = [re.sub(r"\.0\b", "", error.get("field", error["message"])) for error in errors]
    around = section or field
    return any(name == around or name.startswith(f"{around}.") or (field and field in name) for name in reported)


def test_malformed_configs_are_refused_by_field_and_start_nothing(client, malformed, tmp_path):
    assert len(malformed) == COUNT and len({path for _, path in malformed}) > 250
    for text, path in malformed:
        answer = client.post("/runs", content=text.encode(), headers=JSON)
        assert 400 <= answer.status_code < 500, (answer.status_code, text)
        assert names(answer.json()["errors"], path), (answer.text[:500], path, text[:500])
    assert client.get("/runs").json()["total"] == 0
    assert list((tmp_path / "runs/requests").iterdir()) == []


REQUESTS = {
    "/summaries": (SummariesRequest, {"dialogues": ["a"]}),
    "/scores": (ScoresRequest, {"texts": ["a"]}),
    "/runs/0123456789ab/workers": (WorkerNumbers, {"reward": 1}),
    "/runs/0123456789ab/reward": (RewardSettings, {"part": "classifier", "weight": 0.5, "at_step": 3}),
    "/campaigns": (CampaignConfig, {"name": "a", "policies": ["base", "reference"]}),
    "/campaigns/0123456789ab/answers": (AnswerRequest, {"question": "0123456789abcdef", "outcome": "tie"}),
}


def refuses(model: type, text: str) -> bool:
    try:
        model.model_validate(json.loads(text))
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize("path", REQUESTS)
def test_malformed_requests_are_refused_by_field(client, path):
    model, start = REQUESTS[path]
    cases = [case for case in dict.fromkeys(broken(model, start)) if refuses(model, case[0])]
    assert len(cases) > 25
    for text, place in cases:
        answer = client.request("PATCH" if "runs" in path else "POST", path, content=text.encode(), headers=JSON)
        errors = [e | {"field": e["field"].removeprefix("body.")} for e in answer.json()["errors"]]
        assert answer.status_code == 422 and (errors[0]["field"] == "body" or names(errors, place)), (text, answer.text)


NOT_JSON_BODIES = {
    "nothing": b"",
    "a word": b"steps",
    "cut off": b'{"steps": 1',
    "two of them": b'{"steps": 1}{"steps": 1}',
    "a comma too many": b'{"steps": 1,}',
    "single quotes": b"{'steps': 1}",
    "YAML": b"steps: 1",
    "a form": b"steps=1&base=quickstart",
    "Latin-1": '{"base": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"base": "\xc0\xae"}',
    "cut off in a character": b'{"base": "\xe2\x82',
    "a byte of no text": b'{"steps": 1}\x00',
    "lists in each other": b"[" * 100_000,
    "sections in each other": b'{"data":' * 100_000,
    "lists in each other, closed": b'{"reward": {"parts": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "sections in each other, closed": b'{"data":' * 900 + b"1" + b"}" * 900,
    "a number of many digits": b'{"steps": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "a list of bodies": b'[{"steps": 1}]',
    "a text": b'"quickstart"',
    "a number": b"1",
    "null": b"null",
    "NaN": b"NaN",
    "the same twice, the last wrong": b'{"steps": 1, "steps": "x"}',
    "the same twice, the first right": b'{"base": "quickstart", "base": "../quickstart"}',
    "more than anybody sets": json.dumps({f"k{i}": i for i in range(100_000)}).encode()[:900_000] + b"}",
    "a long list": b'{"policy": {"lora": {"target_modules": [' + b'"q",' * 5000 + b'"q"]}}}',
}


def test_an_invalid_body_starts_no_run(client):
    for name, body in NOT_JSON_BODIES.items():
        for path in ("/runs", "/summaries", "/scores", "/campaigns"):
            answer = client.post(path, content=body, headers=JSON)
            assert answer.status_code in (400, 422) and answer.json()["errors"][0]["message"], (name, path, answer.text)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"):
        assert client.post("/runs", content=b"{}", headers={"Content-Type": kind}).status_code == 422, kind
    assert client.get("/runs").json()["total"] == 0


def test_larger_bodies_are_refused_whether_their_size_is_announced_or_not(make_client):
    client = make_client("--serve.limits.body_bytes=1000")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/runs", "/summaries", "/scores", "/page/try", "/page/start"):
        for content in (b" " * 1001, iter([b" " * 500] * 3)):
            answer = client.post(path, content=content, headers=form if path.startswith("/page") else JSON)
            assert answer.status_code == 413 and "1000 bytes" in answer.text, path
            assert answer.headers["X-Request-ID"] and answer.headers["X-Content-Type-Options"] == "nosniff"
    fits = b'{"steps": 1}'.ljust(1000)
    assert client.post("/runs", content=fits, headers=JSON).status_code == 201


def test_numbers_in_queries_and_headers_are_checked(client):
    run = client.post("/runs", json={}).json()["id"]
    for value in ("", "x", "1e999", "NaN", "9" * 5000, "-2.5", "0x1", "\x00", "\uff11"):
        asked = client.get(f"/runs/{run}/steps", params={"after": value})
        assert asked.status_code == 422 and asked.json()["errors"][0]["field"] == "query.after", value
        if value.isascii() and value.isprintable():
            assert client.get(f"/runs/{run}/events", headers={"Last-Event-ID": value}).status_code == 422, value
    for key in ("", "x" * 201):
        assert client.post("/runs", json={}, headers={"Idempotency-Key": key}).status_code == 422


def test_texts_are_bounded(make_client):
    client = make_client("--serve.limits.texts=2", "--serve.limits.chars=10")
    for path, field in (("/summaries", "dialogues"), ("/scores", "texts")):
        assert client.post(path, json={field: ["a"] * 3}).json()["errors"][0]["field"] == field
        assert client.post(path, json={field: ["a", "a" * 11]}).json()["errors"][0]["field"] == f"{field}.1"
        assert client.post(path, json={field: ["a" * 10, "b"]}).status_code == 200


def test_unknown_methods_are_refused(client):
    for path, allowed in (("/runs", "GET, HEAD, POST"), ("/health", "GET, HEAD"), ("/runs/0123456789ab/stop", "POST")):
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, allowed) and answer.json()["errors"]
