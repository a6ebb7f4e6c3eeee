"""The examples' presets: which code files may name, and that a run learns."""

import importlib
import json

import pytest
import yaml

import ray_job
from configs.errors import UsageError
from configs.load import load_config
from configs.presets import SHIPPED_CODE
from service.http.runs.presets import Presets


def own_file(folder, function):
    path = folder / "own.yaml"
    values = {"base": "records", "reward": {"parts": {"fields": {"function": function}}}}
    path.write_text(yaml.safe_dump(values))
    return f"--config={path}"


@pytest.mark.parametrize("function", SHIPPED_CODE)
def test_files_may_name_functions_that_ship(function, tmp_path):
    module, name = function.split(":")
    assert callable(getattr(importlib.import_module(module), name))
    assert load_config([own_file(tmp_path, function)]).reward.parts["fields"].function == function


@pytest.mark.parametrize("function", ["os:system", "examples.build:build", "examples.records.reward:read", ["a"], None])
def test_files_may_name_no_other_function(function, tmp_path):
    with pytest.raises(UsageError, match=r"reward\.parts\.fields\.function: is code"):
        load_config([own_file(tmp_path, function)])


def test_http_clients_may_use_the_preset_but_choose_no_function():
    presets = Presets(("records", "quickstart"))
    assert presets.make_config({"base": "records", "steps": 2})[1].reward.parts["fields"].type == "function"
    for base in ("records", "quickstart"):
        for function in (*SHIPPED_CODE, "os:system"):
            part = {"type": "function", "function": function}
            with pytest.raises(UsageError, match="cannot be set over HTTP"):
                presets.make_config({"base": base, "reward": {"parts": {"fields": part}}})


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["records", "translation"])
def test_a_short_run_learns(preset, tmp_path):
    short = ["--steps=16", "--evaluation.rows=4", "--evaluation.samples=1", "--cluster.backend=inline"]
    assert ray_job.main(["train", "--config", preset, "--seed=5", *short, "--out", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run/steps.jsonl").read_text().splitlines()
    rewards = [json.loads(line)["reward/mean"] for line in lines]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.05
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert "toxic" not in " ".join(report["evaluation"]["comparisons"][0]["verdict"])
