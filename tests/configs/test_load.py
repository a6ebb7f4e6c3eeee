"""One schema for YAML and command line, every mistake named at once."""

import pytest
import yaml

from configs.errors import UsageError
from configs.load import load_config, validate
from configs.presets import PRESETS
from configs.schema import Config


@pytest.mark.parametrize("setting", ["evaluation.verdict", "data.reference_column", "reward.parts.classifier.clip"])
def test_null_on_the_command_line_is_null_where_a_list_could_be(setting):
    more = {"data.reference_column": [f"--evaluation.metrics.rouge{n}=null" for n in ("1", "2", "L", "Lsum")]}
    values = load_config([f"--{setting}=null", *more.get(setting, [])]).model_dump()
    for key in setting.split("."):
        values = values[key]
    assert values is None


@pytest.mark.parametrize("preset", sorted(p.stem for p in PRESETS.glob("*.yaml")))
def test_every_preset_loads(preset):
    assert isinstance(load_config(["--config", preset]), Config)


def test_the_default_is_the_quickstart():
    assert load_config([]) == load_config(["--config", "quickstart"])


def test_command_line_lies_over_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    values = yaml.safe_load((PRESETS / "quickstart.yaml").read_text()) | {"steps": 7, "seed": 3}
    file.write_text(yaml.safe_dump(values))
    config = load_config(
        ["--config", str(file), "--seed", "5", "--workers.rollout=3", "--policy.lora.target_modules", "q,k"]
    )
    assert (config.steps, config.seed, config.workers.rollout) == (7, 5, 3)
    assert config.policy.lora.target_modules == ("q", "k") and config.policy.lora.r == 8


def test_another_type_replaces_a_tagged_section():
    kl = load_config(["--algorithm.kl.type", "adaptive", "--algorithm.kl.target", "3"]).algorithm.kl
    assert (kl.type, kl.target, kl.coef) == ("adaptive", 3.0, 0.2)


def test_a_dumped_config_reads_back_the_same():
    config = load_config([])
    assert validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


def test_every_mistake_is_named_at_once():
    with pytest.raises(UsageError) as caught:
        load_config(["--seed", "-1", "--steps", "many", "--algorithm.clip_range", "0"])
    assert [p.split(":")[0] for p in caught.value.problems] == ["algorithm.clip_range", "steps", "seed"]


def test_every_field_has_a_help_text():
    def walk(model):
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field.description
            for section in getattr(field.annotation, "__args__", (field.annotation,)):
                if hasattr(section, "model_fields"):
                    yield from walk(section)

    assert not [name for name, text in walk(Config) if not text and not name.endswith(".type")]


def test_what_ships_is_found_from_anywhere_and_what_is_there_keeps_its_name(tmp_path, monkeypatch):
    named = {
        "policy.model": "quickstart/policy",
        "reward.parts.classifier.model": "quickstart/reward",
        "data.path": "quickstart/dialogues",
    }
    arguments = [f"--{name}={value}" for name, value in named.items()]

    def found(*arguments):
        config = load_config(["--config", "quickstart", *arguments])
        return [config.policy.model, config.reward.parts["classifier"].model, config.data.path]

    assert found() == found(*arguments) == list(named.values())  # the current folder is the project's
    monkeypatch.chdir(tmp_path)
    assert found() == found(*arguments) == [str(PRESETS.parent / value) for value in named.values()]
    (tmp_path / "quickstart/policy").mkdir(parents=True)
    assert found()[0] == "quickstart/policy"
    assert found("--policy.model=google/flan-t5-base")[0] == "google/flan-t5-base"


@pytest.mark.parametrize("name", ["\0", "x" * 5000, "/no/such"])
def test_a_name_that_is_nowhere_stays_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config([f"--data.path={name}"]).data.path == name
