"""What a run answers: with its own prompt and lengths, from the start that it had, or not at all."""

import json

import pytest
import yaml

from cluster.serving.deployment import summarizer_settings
from configs.load import load_config
from learner.adapter import BASE
from tests.learner.test_lora import write_adapter
from tests.service.http.test_fuzz import finish
from workers.data.prompts import read_rows
from workers.inference.summarizer import Summarizer, SummaryRequest

OWN = {"data": {"template": "Tell me: {text}"}, "rollout": {"max_new_tokens": 7, "min_cut": None}}


@pytest.fixture
def run(make_client, tmp_path):
    """A client, and a finished run with a prompt, a length and a start of its own."""
    start = write_adapter(tmp_path / "sft", 1, r=4, lora_alpha=32, target_modules=["q", "v"])
    preset = tmp_path / "own.yaml"
    preset.write_text(yaml.safe_dump({"base": "quickstart", "policy": {"adapter": start}} | OWN))
    client = make_client(f'--serve.presets=["{preset}"]')
    run = finish(client)
    folder = client.app.state.runs.folder(run)
    write_adapter(folder / "adapter", 2, r=4, lora_alpha=32, target_modules=["q", "v"])
    return client, run, folder, start


@pytest.fixture(scope="module")
def dialogues():
    return [row.text for row in read_rows(load_config([]).data, "validation")][:4]


def expected(arguments, adapter, dialogues):
    """What a summarizer says that knows these settings only."""
    summarizer = Summarizer(summarizer_settings(load_config(arguments)))
    requests = [summarizer.tokenize(SummaryRequest(text, 3)) for text in dialogues]
    return summarizer.summarize(requests, summarizer.read(adapter))


def summaries(client, names, dialogues):
    answer = client.post("/summaries", json={"dialogues": dialogues, "adapters": names, "seed": 3})
    assert answer.status_code == 200, answer.text
    return {part["adapter"]: part["texts"] for part in answer.json()["summaries"]}


def test_each_run_answers_with_its_own_prompt_length_and_start(run, dialogues):
    client, id, folder, start = run
    found = summaries(client, [BASE, id, f"{id}@start"], dialogues)
    own = [f"--data.template={OWN['data']['template']}", "--rollout.max_new_tokens=7"]
    assert found[id] == expected(own, str(folder / "adapter"), dialogues)
    assert found[f"{id}@start"] == expected(own, start, dialogues)
    assert found[BASE] == expected([], BASE, dialogues)
    assert len({json.dumps(texts) for texts in found.values()}) == 3


def test_the_base_starts_where_the_service_was_told_to(make_client, tmp_path, dialogues):
    start = write_adapter(tmp_path / "sft", 1, r=4, lora_alpha=32, target_modules=["q", "v"])
    client = make_client(f"--policy.adapter={start}")
    assert summaries(client, [BASE], dialogues)[BASE] == expected([], start, dialogues)


@pytest.mark.parametrize("name", ["{run}@end", "{run}@", "@start", "base@start"])
def test_other_starts_are_no_names(run, name, dialogues):
    client, id, *_ = run
    answer = client.post("/summaries", json={"dialogues": dialogues, "adapters": [name.format(run=id)]})
    assert answer.status_code == 422


def test_a_run_that_cannot_answer_as_it_was_trained_is_refused_by_name(run, dialogues):
    client, id, folder, start = run

    def refusal(name):
        answer = client.post("/summaries", json={"dialogues": dialogues, "adapters": [name]})
        assert answer.status_code == 422
        return answer.json()["errors"][0]["message"]

    for file in (folder.parent.parent / "sft").iterdir():
        file.unlink()
    assert "holds no adapter" in refusal(f"{id}@start") or start in refusal(f"{id}@start")
    assert summaries(client, [id], dialogues)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"]["tgt_lang_column"] = "topic"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert f"'{id}' cannot be asked: data.tgt_lang: summaries need one" in refusal(id)
    (folder / "config.yaml").write_text("policy: {")
    assert f"'{id}': the run's config.yaml cannot be read" in refusal(id)
