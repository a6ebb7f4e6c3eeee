"""POST /scores: what is scored, by which parts, and as another deployment's reward."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from configs.load import load_config
from tests.conftest import ROOT, scorer_settings, settings_of, small_config
from workers.inference.scorer import Scorer
from workers.reward.items import Item
from workers.reward.worker import RewardWorker

NICE, NASTY = "#Person1# thanks #Person2# for the help.", "#Person1# calls #Person2# a stupid idiot."


def test_each_part_answers_under_its_name(client):
    [nice, nasty] = client.post("/scores", json={"texts": [NICE, NASTY]}).json()["scores"]
    for score in (nice, nasty):
        [labels] = score["classifiers"]["classifier"]
        assert score["total"] == score["rewards"]["classifier"] == labels["logits"]["nothate"]
        assert score["toxicity"] == pytest.approx(labels["probabilities"]["hate"], abs=1e-6)
    assert nasty["toxicity"] > 0.9 > 0.1 > nice["toxicity"]
    item = {"completion": NICE, "prompt": "p", "references": ["r"]}
    [again] = client.post("/scores", json={"items": [item]}).json()["scores"]
    assert again["total"] == pytest.approx(nice["total"])


@pytest.mark.parametrize(
    "body", [{}, {"texts": []}, {"items": []}, {"texts": ["a"], "items": [{"completion": "a"}]}, {"items": [{}]}]
)
def test_either_texts_or_items_are_scored(client, body):
    assert client.post("/scores", json=body).status_code == 422


def test_all_texts_of_an_item_are_limited_together(make_client):
    client = make_client("--serve.limits.chars=10", "--serve.limits.texts=2")
    body = {"items": [{"completion": "a"}, {"completion": "abcd", "references": ["abcd", "abc"]}]}
    refused = client.post("/scores", json=body)
    assert refused.status_code == 422 and refused.json()["errors"] == [
        {"field": "items.1", "message": "11 characters; the limit is 10"}
    ]
    assert "3 texts in one request" in client.post("/scores", json={"items": [{"completion": "a"}] * 3}).text


def test_a_reward_without_a_classifier_has_no_toxicity():
    parts = {"reward__parts__classifier": "null", "reward__parts__like": '{"type": "rouge", "variant": "rouge1"}'}
    scorer = Scorer(scorer_settings(small_config(**parts)))
    verdict, failed = scorer.score([Item("a b", references=("a c",)), Item("a b")])
    assert (verdict.total, verdict.parts, verdict.toxicity, verdict.labels) == (0.5, {"like": 0.5}, None, {})
    assert failed.total is None and failed.parts == {"like": None}


@pytest.fixture(scope="module")
def pool():
    """The address of a deployment in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with_topic = '--reward.parts.topic \'{"type": "function", "function": "tests.workers.rewards:answers"}\''
    env = os.environ | {"SCORES_WITH": f"--reward.parts.like.type rouge {with_topic}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "uvicorn", "tests.plain:app", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}/scores"
        finally:
            process.terminate()


def _wait_for(port, process):
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5)
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail("it did not start")


@pytest.mark.slow
def test_one_deployment_is_another_s_reward_pool(pool, unit):
    """The same numbers as here, each by its part's name, and by its total with columns that a function there reads."""
    remote = {"type": "http", "url": pool, "batch_size": 3, "concurrency": 2}
    names = {"classifier": "classifier", "like": "like", "topic": "topic", "total": None}
    parts = {f"{name}_there": {**remote, "reward": reward, "columns": ["answer"]} for name, reward in names.items()}
    parts["like"] = {"type": "rouge"}
    worker = RewardWorker(settings_of(load_config(["--reward.parts", json.dumps(parts)]), "reward"))
    texts = ("Thank you a lot.", "an idiot", "", "a \u202e b")
    rows = ({"answer": "a"}, {"answer": "the"}, {"answer": ""}, {"answer": "\ud83d no"})
    items = [Item(*parts) for parts in zip(texts, unit.prompts, unit.references, rows, strict=True)]
    scored = worker.rewards(items)
    for name in ("classifier", "like"):
        here, there = scored.parts[name].tolist(), scored.parts[f"{name}_there"].tolist()
        assert there == pytest.approx(here, abs=1e-5)
    assert scored.parts["topic_there"].isnan().tolist() == [False, True, False, True]
    assert scored.parts["total_there"].isnan().tolist() == [False, True, False, True], "a part that fails there"
