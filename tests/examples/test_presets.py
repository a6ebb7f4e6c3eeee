"""The examples' presets: which code files may name, and that a run learns."""

import importlib

import pytest
import yaml

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
