"""Changing the reward of a running run over HTTP: registered models and weights only, with an answer to read."""

import json

import pytest

from learner.atomic_files import replace_file
from service.run.folder import write_config
from service.run.lock import lock_folder
from service.run.reward_changes import RunRewards, waiting
from tests.service.http.test_audit import bearer
from tests.workers.rewards import function, tiny_classifier
from workers.reward.versions import Trial

PRESET = {"base": "quickstart", "reward": {"parts": {"short": {"type": "length", "words": 9}}}}


@pytest.fixture
def model(tmp_path):
    return tiny_classifier(tmp_path / "model", num_labels=1)


def start(client, body=None, headers=None):
    """Id and folder of a run that its job has just begun."""
    runs = client.app.state.runs
    run = client.post("/runs", json=body or PRESET, headers=headers).json()["id"]
    folder = runs.folder(run)
    folder.mkdir(parents=True)
    replace_file(folder / "config.yaml", runs.paths.request(run).read_bytes())
    return run, folder


def test_a_change_is_requested_and_its_answer_is_part_of_the_run(make_client, model):
    client = make_client(f'--serve.reward_models=["{model}"]')
    run, folder = start(client)
    assert client.get(f"/runs/{run}").json()["reward"] == {"version": 0, "since": 0, "waiting": 0, "refused": []}
    with lock_folder(folder):
        answer = client.patch(f"/runs/{run}/reward", json={"model": model, "weight": 2, "at_step": 5})
        assert answer.status_code == 202 and answer.json()["reward"]["waiting"] == 1
        rewards = RunRewards(folder, client.app.state.runs.presets.configs["quickstart"].reward, print)
        [request] = rewards.due(5)
        assert request.change.settings == {
            "model": model, "weight": 2.0, "label": None, "label_is": "good", "toxicity": False,
        }  # fmt: skip
        rewards.accept(request, 5, Trial(request.change.applied_to(rewards.versions[-1].reward)))
        assert client.get(f"/runs/{run}").json()["reward"] == {"version": 1, "since": 5, "waiting": 0, "refused": []}
        client.patch(f"/runs/{run}/reward", json={"weight": 3})
        [request] = rewards.due(6)
        rewards.refuse(request, ["the probe is reversed"])
    expected = {"version": 1, "since": 5, "waiting": 0, "refused": ["the probe is reversed"]}
    assert client.get(f"/runs/{run}").json()["reward"] == expected
    (folder / "rewards.jsonl").write_text("{")
    assert client.get(f"/runs/{run}").json()["reward"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reward.parts.classifier"),
        ({"at_step": 3}, "reward.parts.classifier"),
        ({"model": "/etc"}, "reward.parts.classifier.model"),
        ({"model": "quickstart/policy"}, "reward.parts.classifier.model"),
        ({"model": "../reward"}, "reward.parts.classifier.model"),
        ({"label": "kind"}, "reward.parts.classifier.label"),
        ({"label": "x" * 20_000}, "reward.parts.classifier.label"),
        ({"part": "nope", "weight": 1}, "reward.parts.nope"),
        ({"part": "short", "model": "quickstart/reward"}, "reward.parts.short.model"),
        ({"at_step": 45, "weight": 1}, "at_step"),
        ({"weight": 1e9}, "body.weight"),
        ({"function": "os:system"}, "body.function"),
        ({"standardise": {"std": 0}}, "body.standardise"),
    ],
)
def test_a_change_that_is_not_allowed_is_refused_by_field(client, body, field):
    run, folder = start(client)
    with lock_folder(folder):
        answer = client.patch(f"/runs/{run}/reward", json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field, answer.text
    assert waiting(folder) == []


def test_parts_that_run_code_are_not_changed_even_in_weight(client):
    run, folder = start(client)
    config = client.app.state.runs.presets.configs["quickstart"]
    values = config.reward.model_dump()
    values["parts"]["own"] = function("nice")
    write_config(folder, config.model_copy(update={"reward": type(config.reward).model_validate(values)}))
    with lock_folder(folder):
        answer = client.patch(f"/runs/{run}/reward", json={"part": "own", "weight": 2})
    assert answer.status_code == 422 and "type function cannot be set over HTTP" in answer.text


def test_it_needs_a_running_run_and_the_scope_submit_and_is_audited(make_client, keys, tmp_path):
    client = make_client(keys=keys[0])
    submit, read = bearer(keys[1]["submit"]), bearer(keys[1]["read"])
    run, folder = start(client, headers=submit)
    ask = {"url": f"/runs/{run}/reward", "json": {"weight": 2}}
    codes = [client.patch(**ask, headers=submit).status_code, client.patch(**ask, headers=read).status_code]
    with lock_folder(folder):
        codes.append(client.patch(**ask, headers=submit).status_code)
    assert codes == [409, 403, 202]
    lines = [json.loads(line) for line in (tmp_path / "runs/audit.jsonl").read_text().splitlines()][-3:]
    assert [(line["who"], line["what"], line["result"], line["run"]) for line in lines] == [
        ("submit", "change_reward", 409, run), ("read", "change_reward", 403, run),
        ("submit", "change_reward", 202, run),
    ]  # fmt: skip
    assert lines[2]["request"].replace(" ", "") == '{"weight":2}'
