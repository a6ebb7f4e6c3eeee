"""What a request may set: no code, no files, no other hosts, and nothing beyond the limits."""

import pytest
import yaml

from configs.errors import UsageError
from configs.load import load_config
from configs.presets import PRESETS
from configs.schema import Config
from configs.service import ServeConfig
from service.http.runs.presets import Presets
from service.http.runs.request_rules import CLOSED, CLOSED_PARTS, MAX_CHARS, MAX_ENTRIES, MAX_INTEGER, MAX_INTEGERS
from tests.service.http.test_bad_input import NEEDED, fields, is_open, put, with_value

PARTS = ("reward.parts.some", "evaluation.metrics.some")
MODELS = (*PARTS, *(f"{part}.members.0" for part in PARTS))
TYPES = tuple(f"{part}: type " for part in PARTS)
NO_FILES = {
    "data.prompt_column", "data.reference_column", "data.reference_column.0", "data.topic_column",  # columns
    "algorithm.group_by.column", "data.src_lang_column", "data.tgt_lang_column",
    # names of files in data.path, found by listing it, and parts of them
    "data.train_split", "data.validation_split", "data.eval_split",
    "data.template", "data.target_prefix", "data.src_lang", "data.tgt_lang",  # texts for models, names in tokenizers
    *(f"{model}.{text}" for model in (*MODELS, "evaluation.second_judge")
      for text in ("label", "probe.better", "probe.worse")),  # names in models, texts for them
    *(f"{part}.source" for part in PARTS),
    "policy.lora.target_modules.0", "evaluation.verdict.0", "evaluation.baseline",
}  # fmt: skip
"""Settings whose text is not a path, a host or a command."""


@pytest.fixture(scope="module")
def presets():
    return Presets(ServeConfig().presets)


def refusals(presets, body):
    with pytest.raises(UsageError) as error:
        presets.make_config(body)
    return error.value.problems


def settings_of(kind):
    """Open settings of a type, by name: its path, and the values that its section needs."""
    schema = Config.model_json_schema()
    found = [(path, around) for path, around, types in fields(schema, schema) if is_open(path) and kind in types]
    return {".".join(map(str, path)): (path, around) for path, around in found}


def test_every_preset_is_accepted_as_it_is(presets):
    assert set(presets.configs) == set(ServeConfig().presets) <= {path.stem for path in PRESETS.glob("*.yaml")}
    for name, config in presets.configs.items():
        assert presets.make_config({"base": name}) == (name, config) and config == load_config(["--config", name])
    assert presets.make_config({}) == ("quickstart", presets.configs["quickstart"])


def test_settings_are_laid_over_the_preset(presets):
    base, config = presets.make_config({"base": "quickstart_grpo", "steps": 7, "algorithm": {"kl": {"coef": 0.5}}})
    preset = presets.configs["quickstart_grpo"]
    assert (base, config.steps, config.algorithm.kl.coef) == ("quickstart_grpo", 7, 0.5)
    assert config.algorithm.group_size == preset.algorithm.group_size and config.data == preset.data


@pytest.mark.parametrize("base", [None, 1, [], {}, "", "nope", "quickstart.yaml", "../configs/quickstart", "/etc/x"])
def test_only_registered_presets_are_bases(presets, base):
    (problem,) = refusals(presets, {"base": base})
    assert problem.startswith("base: unknown preset ")


def test_closed_settings_are_refused_even_with_the_preset_s_own_value(presets):
    values = presets.configs["quickstart"].model_dump(mode="json")
    for field in CLOSED:
        *section, name = field.split(".")
        inner = values
        for key in section:
            inner = inner[key]
        for value in (inner[name], None, {}, [], "x"):
            problems = refusals(presets, put({}, (*section, name), value))
            assert any(problem.startswith(f"{field}: cannot be set over HTTP") for problem in problems), (field, value)
    for body in ({"bench": {"vs": "touch /tmp/x"}}, {"cluster": {"address": "evil:6379"}}, {"cluster.address": "x"}):
        assert "cannot be set over HTTP" in refusals(presets, body)[0]


def test_every_text_setting_is_closed_or_registered_or_not_a_file(presets):
    texts = settings_of("string")
    models = {f"{model}.model" for model in (*MODELS, "evaluation.second_judge")}
    registered = {"policy.model", "data.path"} | models
    counts = {"workers.rollout", "workers.reward", "workers.reference"}
    of_closed = {"url", "reward", "columns.0", "key_env", "pattern", "function", "metric", "score"}
    closed = {f"{part}.{name}" for part in PARTS for name in of_closed}  # refused because of the part's type
    assert set(texts) == NO_FILES | registered | counts | closed, "a new setting: is it a path?"
    for name in closed:
        assert refusals(presets, with_value({}, *texts[name], NEEDED.get(name.rpartition(".")[2], "a")))[0].startswith(
            TYPES
        ), name
    for name in registered | counts:
        for value in ("/etc/passwd", "../../secrets", "http://evil.example/x", "evil/model", ".", "~", "\x00"):
            assert refusals(presets, with_value({}, *texts[name], value))[0].startswith(f"{name}: "), (name, value)


@pytest.mark.parametrize("other", ["quickstart/./policy", "quickstart/policy/", "/quickstart/policy", "t5-small"])
def test_models_are_registered_by_their_exact_names(presets, other):
    (problem,) = refusals(presets, {"policy": {"model": other}})
    assert problem.startswith("policy.model: ") and "google/flan-t5-base, quickstart/policy" in problem


def test_a_model_of_one_preset_may_be_used_with_another_in_the_same_place(presets):
    _, config = presets.make_config({"policy": {"model": "google/flan-t5-base"}})
    assert config.policy.model == "google/flan-t5-base" and config.data.path == "quickstart/dialogues"
    judge = {"type": "classifier", "model": "quickstart/reward", "label": "nothate"}
    assert refusals(presets, {"evaluation": {"second_judge": judge}})[0].startswith("evaluation.second_judge.model: ")


NOT_OPEN = {
    "function": {"function": "os:getcwd"},
    "metric": {"metric": "/tmp/code", "score": "f1"},
    "http": {"url": "http://evil.example/scores"},
    "regex": {"pattern": "(a+)+$"},
}


def test_parts_of_the_reward_that_run_code_or_reach_hosts_are_refused(presets):
    assert set(NOT_OPEN) == set(CLOSED_PARTS)
    length = {"type": "length", "words": 30}
    for kind, settings in NOT_OPEN.items():
        parts = {"short": length, "own": {"type": kind, **settings}}
        refused = refusals(presets, {"reward": {"parts": parts}})
        assert refused == (f"reward.parts.own: type {kind} cannot be set over HTTP: {CLOSED_PARTS[kind]}",)
    config = presets.make_config({"reward": {"parts": {"short": length, "classifier": None}}})[1]
    assert list(config.reward.parts) == ["short"] and config.reward.parts["short"].words == 30


def test_what_a_preset_sends_to_a_host_no_request_can_send_to_another(tmp_path):
    file = tmp_path / "pool.yaml"
    file.write_text("base: quickstart\nreward: {parts: {pool: {type: http, url: 'http://127.0.0.1:1/scores'}}}\n")
    own = Presets((str(file),))
    assert own.make_config({"steps": 3})[1].reward.parts["pool"].url == "http://127.0.0.1:1/scores"
    for changed in (
        {"url": "http://evil.example"},
        {"type": "http", "url": "http://evil.example"},
        {"key_env": "HOME"},
    ):
        (problem,) = refusals(own, {"reward": {"parts": {"pool": changed}}})
        assert problem.startswith("reward.parts.pool: type http cannot be set over HTTP")
    assert "pool" not in own.make_config({"reward": {"parts": {"pool": None}}})[1].reward.parts


def test_a_classifier_of_a_preset_may_be_a_part_of_any_name(presets):
    part = {"type": "classifier", "model": "quickstart/reward", "label": "hate", "label_is": "bad"}
    assert presets.make_config({"reward": {"parts": {"again": part}}})[1].reward.parts["again"].label == "hate"
    for kind in ("pair", "classifier"):
        (problem,) = refusals(presets, {"reward": {"parts": {"own": {"type": kind, "model": "/etc/passwd"}}}})
        assert problem.startswith("reward.parts.own.model: '/etc/passwd' is not registered")
    ensemble = {"type": "ensemble", "members": [{"model": "quickstart/reward"}, {"model": "evil/model"}]}
    (problem,) = refusals(presets, {"reward": {"parts": {"both": ensemble}}})
    assert problem.startswith("reward.parts.both.members.1.model: 'evil/model' is not registered")


def test_every_integer_is_limited(presets):
    numbers = settings_of("integer")
    assert len(numbers) > 25 and set(MAX_INTEGERS) <= set(numbers)
    for name, place in numbers.items():
        most = MAX_INTEGERS.get(name, MAX_INTEGER)
        for number in (most + 1, 10**30, *([-(10**30)] if "seed" in name else [])):
            body = with_value({}, *place, number)
            assert any(name in problem for problem in refusals(presets, body)), (name, number)
    for name in ("seed", "evaluation.seed", "steps", "workers.reward", "evaluation.samples"):
        presets.make_config(with_value({}, *numbers[name], MAX_INTEGERS[name]))
    assert refusals(presets, {"workers": {"reward": "1-100000"}})[0].startswith("workers.reward: must be from 0 to")
    assert presets.make_config({"workers": {"reward": "1-64", "rollout": "auto"}})[1].workers.reward == "1-64"


def test_a_preset_may_exceed_the_limits_of_requests(presets, tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("base: quickstart\nsteps: 1000000\ncluster: {attempts: 9}\n")
    own = Presets((str(file),))
    assert own.make_config({"seed": 3})[1].steps == 1_000_000 and own.make_config({})[1].cluster.attempts == 9
    assert refusals(own, {"steps": 1_000_000})[0].startswith("steps: must be from 0 to 100000")


def test_texts_are_limited_and_have_no_lone_surrogates(presets):
    for text in ("\ud800{text}", "{text}\udfff"):
        assert refusals(presets, {"data": {"template": text}})[0].startswith("data.template: contains a lone surrogate")
    assert refusals(presets, {"\ud800": 1})[0].endswith(": contains a lone surrogate")
    long = "{text}".ljust(MAX_CHARS)
    assert presets.make_config({"data": {"template": long}})[1].data.template == long
    assert refusals(presets, {"data": {"template": f"{long} "}})[0].startswith("data.template: is longer than")
    for key in ("x" * 10**6, "y" * 1001):  # quoted in part, also with many settings below it
        assert len(refusals(presets, {key: {f"k{i}": 1 for i in range(MAX_CHARS)}})[0]) < 200
    # Each {text} becomes a dialogue: a thousand of them would make a gigabyte of prompts.
    assert refusals(presets, {"data": {"template": "{text}{text}"}})[0].startswith("data.template: may contain {text}")
    for many in (
        {"policy": {"lora": {"target_modules": ["q"] * MAX_ENTRIES}}},
        {f"k{i}": {} for i in range(MAX_ENTRIES + 1)},
    ):
        assert refusals(presets, many) == (f"body: has more than {MAX_ENTRIES} settings",)


@pytest.mark.parametrize("depth", [2, 100, MAX_ENTRIES - 4, 5000])
def test_bodies_deeper_than_any_setting_are_refused(presets, depth):
    section, list_ = {}, []
    for _ in range(depth):
        section, list_ = {"data": section}, [list_]
    for body in (section, {"reward": {"parts": list_}}, {"reward": {"parts": {"own": section}}}):
        refused = refusals(presets, body)[0]
        assert refused.startswith("body: " if depth > MAX_ENTRIES else ("data.data: ", "reward.parts"))


TEXTS = ("\x00", "\x85", "\ufeff", "\uffff", "\u2028", "\r\n", "1e3", "null", " ~ ", "'\"", "\U0001f600", "", "yes")


@pytest.mark.parametrize("text", TEXTS)
def test_a_run_reads_the_config_that_was_accepted(presets, tmp_path, text):
    _, config = presets.make_config({"data": {"template": f"{text}{{text}}", "topic_column": text}})
    file = tmp_path / "request.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude={"out", "serve"}), sort_keys=False))
    assert load_config(["--config", str(file)]) == config
