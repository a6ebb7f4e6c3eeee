"""A typed client, generated from the OpenAPI document alone, drives a run."""

import json
import sys
from importlib import import_module
from types import NoneType, SimpleNamespace
from typing import Any, get_args, get_type_hints

import openapi_python_client
import pytest
from openapi_python_client.config import Config, ConfigFile, MetaType

from service.commands.key import key
from service.http.keys import SCOPES
from service.run.lock import lock_folder
from tests.conftest import ROOT
from tests.documents.pages import blocks
from tests.service.http.test_fuzz import finish

PACKAGE = "seqrlhf_client"
SERVICE = "https://seqrlhf.example.org"


@pytest.fixture
def token(tmp_path, capsys):
    words = ["create", f"{tmp_path / 'keys.json'}", "ann", f"--scopes={','.join(SCOPES)}", f"--serve.folder={tmp_path}"]
    key(words)
    return capsys.readouterr().out.strip()


@pytest.fixture
def client(make_client, token, tmp_path):
    client = make_client(keys=tmp_path / "keys.json")
    client.headers["Authorization"] = f"Bearer {token}"
    return client


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


@pytest.fixture
def api(document, tmp_path, monkeypatch):
    """The generated package: its operations by name, its models and its clients."""
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    options = ConfigFile(post_hooks=[])  # which would format the code
    source, output = tmp_path / "openapi.json", tmp_path / PACKAGE
    config = Config.from_sources(options, MetaType.NONE, source, "utf-8", overwrite=False, output_path=output)
    problems = openapi_python_client.generate(config=config)
    assert [f"{problem.header} {problem.detail}" for problem in problems] == []
    monkeypatch.syspath_prepend(tmp_path)
    names = [file.relative_to(tmp_path).with_suffix("") for file in output.glob("api/*/[!_]*.py")]
    operations = {name.name: import_module(".".join(name.parts)) for name in names}
    yield SimpleNamespace(**operations, package=import_module(PACKAGE), models=import_module(f"{PACKAGE}.models"))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def own(api, client, served, token):
    """The generated client of the service."""
    with api.package.AuthenticatedClient(served(client), token) as own:
        yield own


def operations(document):
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_operations_have_names_for_functions_and_say_which_scope_they_need(document):
    assert {operation["operationId"] for operation in operations(document)} == {
        "list_presets", "submit_run", "list_runs", "get_run", "stop_run", "resume_run", "scale_run", "change_reward",
        "list_steps", "get_log", "get_file", "follow_run", "get_models", "score_texts", "summarize", "get_health",
        "get_readiness", "get_metrics", "create_campaign", "list_campaigns", "get_campaign", "close_campaign",
        "list_judgements", "forget_annotator", "list_open_campaigns", "next_question", "add_answer", "undo_answer",
    }  # fmt: skip
    for operation in operations(document):
        if operation["operationId"] in ("get_health", "get_readiness"):
            assert "security" not in operation
            continue
        [scope] = operation["security"][0]["key"]
        assert scope in SCOPES and f"the scope `{scope}`" in operation["description"]
    assert document["components"]["securitySchemes"]["key"].items() >= {"type": "http", "scheme": "bearer"}.items()


def test_every_schema_is_used_and_every_reference_has_one(document):
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text and name.isalnum()
    assert text.count('"#/components/schemas/') == sum(
        text.count(f'"#/components/schemas/{name}"') for name in document["components"]["schemas"]
    )
    assert "discriminator" not in text and "adapter_bin" not in text


def test_every_call_is_typed(api, document):
    for operation in operations(document):
        returned = set(get_args(get_type_hints(getattr(api, operation["operationId"]).sync)["return"]))
        answers = returned - {NoneType, api.models.Error}
        assert len(answers) > 0 and Any not in returned, returned
        assert api.models.Error in returned or operation["tags"] == ["health"], returned


def test_a_run_is_driven_by_the_generated_client(api, own, client):
    models, runs = api.models, client.app.state.runs
    assert api.list_presets.sync(client=own)[0].name == "quickstart"
    settings = models.RunSettings(base="quickstart", steps=20, policy=models.PolicyConfig(lora=models.Lora(r=4)))
    run = api.submit_run.sync(client=own, body=settings, idempotency_key="monday-1")
    assert isinstance(run, models.Run) and run.request.to_dict() == settings.to_dict()
    again = api.submit_run.sync_detailed(client=own, body=settings, idempotency_key="monday-1")
    assert (again.status_code, again.parsed.id) == (200, run.id)
    folder = runs.folder(run.id)
    folder.mkdir()
    with lock_folder(folder):  # as the run does while it is running
        scaled = api.scale_run.sync(run.id, client=own, body=models.WorkerNumbers(reward=4))
    assert isinstance(scaled, models.Run)
    assert isinstance(api.stop_run.sync(run.id, client=own), models.Run)
    assert "event: end" in api.follow_run.sync(run.id, client=own)
    assert api.get_run.sync(run.id, client=own).state is models.RunState.STOPPED
    listed = api.list_runs.sync(client=own, state=models.RunState.STOPPED, limit=1)
    assert ([entry.id for entry in listed.runs], listed.total, listed.next_) == ([run.id], 1, None)
    assert api.resume_run.sync(run.id, client=own).state in (models.RunState.QUEUED, models.RunState.PENDING)


def test_outputs_and_models_are_read_by_the_generated_client(api, own, client):
    models, run = api.models, finish(client)
    found = api.get_run.sync(run, client=own)
    assert found.state is models.RunState.SUCCEEDED
    for file in found.files:
        content = api.get_file.sync(run, file.name, client=own).payload.read()
        assert content == client.get(file.url).content and content
    steps = api.list_steps.sync(run, client=own, limit=1)
    assert (steps.steps[0]["reward/mean"], steps.total, steps.next_) == (0.0, 2, 0)
    assert "event: end" in api.follow_run.sync(run, client=own)
    assert api.get_log.sync(run, client=own) == ""
    assert 'seqrlhf_runs{state="succeeded"} 1.0' in api.get_metrics.sync(client=own)
    assert run in api.get_models.sync(client=own).adapters and api.get_health.sync(client=own).status == "ok"
    answer = api.summarize.sync(client=own, body=models.SummariesRequest(dialogues=["#Person1#: Sorry."]))
    assert [(part.adapter, len(part.texts)) for part in answer.summaries] == [("base", 1)]
    [score] = api.score_texts.sync(client=own, body=models.ScoresRequest(texts=["thank you"])).scores
    assert 0 < score.toxicity < 1 and set(score.rewards.to_dict()) == {"classifier"}


def test_errors_are_typed(api, own):
    refused = api.submit_run.sync_detailed(client=own, body=api.models.RunSettings(steps=0))
    assert refused.status_code == 422
    [problem] = refused.parsed.errors
    assert problem.field == "steps" and refused.parsed.request_id == refused.headers["X-Request-ID"]
    missing = api.get_run.sync("0123456789ab", client=own)
    assert "0123456789ab" in missing.errors[0].message and not missing.errors[0].field
    stranger = api.package.AuthenticatedClient(own._base_url, "unknown")
    assert "unknown key" in api.list_runs.sync(client=stranger).errors[0].message


def test_the_documented_example_works(api, client, served, token, capsys):
    page = (ROOT / "docs/service.md").read_text(encoding="utf-8")
    [example] = [block for language, block in blocks(page) if language == "python"]
    capsys.readouterr()
    exec(example.replace(SERVICE, served(client)).replace("KEY", token))
    [run] = client.get("/runs").json()["runs"]
    assert capsys.readouterr().out in (f"{run['id']} {state}\n" for state in ("queued", "pending"))
    assert run["owner"] == "ann" and run["steps"] == 20
