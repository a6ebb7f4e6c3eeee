"""Whatever cannot run is refused before Ray starts, with exit code 2, the field, the problem and a remedy."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from transformers import RobertaConfig, T5Config

import ray_job
from cluster.preflight.preflight import check_out
from cluster.run_files import SIZES, STATUS
from configs.errors import UsageError
from tests.conftest import ROOT, SMALL, small_arguments, small_config


def table(folder: Path, columns=("dialogue", "summary"), rows=3, splits=("train", "validation", "test")) -> Path:
    folder.mkdir()
    for split in splits:
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *[["a word or two " * 20 + str(i), "short"] for i in range(rows)]])
    return folder


@pytest.fixture
def folder(tmp_path) -> dict[str, Path]:
    """Directories with one defect each."""
    made = {
        name: tmp_path / name
        for name in ("empty", "full", "decoder", "labels", "broken", "yaml", "list", "no_tokenizer")
    }
    for name in ("empty", "full", "broken"):
        made[name].mkdir()
    (made["full"] / "something").touch()
    (made["broken"] / "config.json").write_text("{")
    for name in ("broken", "labels", "decoder", "no_tokenizer"):
        made[name].mkdir(exist_ok=True)
        (made[name] / "model.safetensors").touch()
    RobertaConfig(id2label={0: "toxic", 1: "fine"}).save_pretrained(made["labels"])
    RobertaConfig().save_pretrained(made["decoder"])
    T5Config().save_pretrained(made["no_tokenizer"])
    made["yaml"].write_text("steps: [1")
    made["list"].write_text("- 1")
    made["code"] = tmp_path / "code"
    made["code"].write_text("base: quickstart\nreward: {parts: {f: {type: function, function: 'os:getcwd'}}}")
    made["circle"] = tmp_path / "circle"
    made["circle"].write_text(f"base: {made['circle']}")
    return made | {
        "header": table(tmp_path / "header", rows=0),
        "no_summary": table(tmp_path / "no_summary", columns=("dialogue", "text")),
        "few": table(tmp_path / "few"),
        "no_test": table(tmp_path / "no_test", rows=40, splits=("train",)),
    }


CASES = {
    "misspelt key": (["--sede", "3"], ["--sede: no such key; did you mean seed?"]),
    "unknown key in a section": (["--workers.rewards", "3"], ["did you mean workers.reward?"]),
    "wrong type": (["--steps", "many"], ["steps: Input should be a valid integer", "'many'"]),
    "below its bound": (["--steps", "0"], ["steps: Input should be greater than or equal to 1"]),
    "no such choice": (["--cluster.backend", "spark"], ["cluster.backend: Input should be 'ray' or 'inline'"]),
    "no value": (["--seed"], ["--seed: expected one argument"]),
    "no such config file": (["--config", "nope.yaml"], ["--config: no file or preset 'nope.yaml'", "flan_t5_detox"]),
    "config is no YAML": (["--config", "{yaml}"], ["--config: {yaml} is not valid YAML"]),
    "config is a list": (["--config", "{list}"], ["--config: {list} must map keys to values"]),
    "setting of another type": (
        ["--algorithm.kl.target", "3"],
        ["algorithm.kl.target: is not a setting of this `type`"],
    ),
    "template without text": (["--data.template", "hi"], ["data.template must contain {{text}}"]),
    "minibatch over batch": (["--algorithm.minibatch_size", "99"], ["algorithm.minibatch_size (99) exceeds"]),
    "policy without config": (
        ["--policy.model", "{empty}"],
        ["policy.model: {empty} holds no config.json, model*.safetensors*"],
    ),
    "policy with a broken config": (["--policy.model", "{broken}"], ["policy.model: {broken} cannot be loaded"]),
    "policy is no encoder-decoder": (
        ["--policy.model", "{decoder}"],
        ["policy.model", "is not an encoder-decoder model"],
    ),
    "policy without tokenizer": (
        ["--policy.model", "{no_tokenizer}"],
        ["policy.model: {no_tokenizer} holds no tokenizer.json"],
    ),
    "policy of no such name": (
        ["--policy.model", "google/flan-t5-base"],
        ["policy.model", "is not a directory", "network"],
    ),
    "no such adapter": (["--policy.adapter", "{empty}"], ["policy.adapter: {empty} holds no"]),
    "no such layers": (
        ["--policy.lora.target_modules", "q,query"],
        ["policy.lora.target_modules", "no layer called query"],
    ),
    "no such label": (
        ["--reward.parts.classifier.label", "kind"],
        ["reward.parts.classifier.label: the model has no single label 'kind'", "nothate, hate"],
    ),
    "reward of no such name": (
        ["--reward.parts.classifier.model", "no/such"],
        ["reward.parts.classifier.model: 'no/such' is not a directory"],
    ),
    "data of no such name": (["--data.path", "no/such-data"], ["data.path: 'no/such-data'"]),
    "data without the split": (
        ["--data.path", "{no_test}"],
        ["data.path", "no split test; splits found: train", "train[90%:]"],
    ),
    "data without the column": (
        ["--data.path", "{no_summary}"],
        ["data.reference_column", "'summary'", "dialogue, text"],
    ),
    "too few dialogues": (["--data.path", "{few}"], ["3 dialogues", "8 are needed", "data.min_chars"]),
    "evaluated on a part of the training split": (
        ["--data.eval_split", "train[90%:]"],
        ["data.eval_split: 'train[90%:]' shares 200 dialogues with the training split 'train'", "train.csv line "],
    ),
    "evaluated on the training split": (
        ["--data.eval_split", "train"],
        ["data.eval_split: 'train' is also the training"],
    ),
    "output folder in use": (["--out", "{full}"], ["out: {full} exists and is not an empty folder"]),
    "no such group column": (
        ["--config", "quickstart_grouped_ppo", "--algorithm.group_by.column", "mood"],
        ["algorithm.group_by.column", "no column 'mood'", "topic"],
    ),
    "a group would be split": (
        ["--config", "quickstart_grpo", "--rollout.unit_size", "6"],
        ["rollout.unit_size (6) must be a multiple of algorithm.group_size (4)"],
    ),
    "k1 in the loss": (["--algorithm.kl_in", "loss"], ["kl_estimator k1 in the loss"]),
    "no such reward function": (
        ["--reward.parts.f", '{{"type":"function","function":"no.such:thing"}}'],
        ["reward.parts.f.function: cannot load function no.such:thing"],
    ),
    "no reward at all": (["--reward.parts.classifier", "null"], ["reward: parts: there is none"]),
    "a reward's name is no name": (
        ["--reward.parts.My-Own.type", "rouge"],
        ["reward.parts.My-Own: String should match"],
    ),
    "a reward of no such kind": (["--reward.parts.x.type", "rogue"], ["reward.parts.x: Input tag 'rogue'", "'rouge'"]),
    "a reward of no kind": (["--reward.parts.x.weight", "2"], ["reward.parts.x: `type` is missing"]),
    "a reward's setting of another kind": (
        ["--reward.parts.classifier.words", "2"],
        ["reward.parts.classifier.words: is not a setting of this `type`"],
    ),
    "a reward's setting mistyped": (
        ["--reward.parts.classifier.modle", "x"],
        ["reward.parts.classifier.modle: no such key; did you mean reward.parts.NAME.model?"],
    ),
    "a reward's setting without a value": (["--reward.parts.x.type"], ["reward.parts.x.type: a value is missing"]),
    "no regular expression": (
        ["--reward.parts.x", '{{"type": "regex", "pattern": "("}}'],
        ["reward.parts.x.pattern: is no regular expression"],
    ),
    "a gate with a weight": (
        ["--reward.parts.x", '{{"type": "rouge", "gate": 0.5, "weight": 2}}'],
        ["reward.parts.x: a part with a gate adds nothing"],
    ),
    "an address with a password": (
        ["--reward.parts.x", '{{"type": "http", "url": "http://me:secret@host/scores"}}'],
        ["reward.parts.x.url: String should match"],
    ),
    "a key that is not there": (
        ["--reward.parts.x", '{{"type": "http", "url": "http://127.0.0.1:1", "key_env": "NO_SUCH_KEY"}}'],
        ["reward.parts.x.key_env: the environment variable NO_SUCH_KEY is not set"],
    ),
    "a metric that is not there": (
        ["--reward.parts.x", '{{"type": "metric", "metric": "{empty}", "score": "f1"}}'],
        ["reward.parts.x.metric: ", "cannot be loaded"],
    ),
    "a column that is not there": (
        ["--reward.parts.x", '{{"type": "pair", "model": "quickstart/reward", "label": "hate", "source": "article"}}'],
        ["reward.parts.x.source: the data has no column article; it has id, dialogue"],
    ),
    "a model of several labels of which none is named": (
        ["--reward.parts.x", '{{"type": "pair", "model": "quickstart/reward"}}'],
        ["reward.parts.x.label: name one of the model's labels: nothate, hate"],
    ),
    "toxicity twice": (
        [
            "--reward.parts.x",
            '{{"type": "classifier", "model": "quickstart/reward", "label": "hate", "toxicity": true}}',
        ],
        ["only one can measure toxicity, not classifier, x"],
    ),
    "code in a file": (
        ["--config", "{code}"],
        ["reward.parts.f.function: is code, which can be named on the command line only"],
    ),
    "not a number": (
        ["--reward.parts.classifier.weight", "nan"],
        ["reward.parts.classifier.weight: Input should be a finite number"],
    ),
    "a base that is itself": (["--config", "{circle}"], ["circular base"]),
    "a name no file can have": (["--config", "x" * 5000], ["no file or preset"]),
    "half a section": (["--policy.lora", "{{"], ["error parsing value for field", "policy"]),
    "no folder can be made there": (["--out", "{yaml}/run"], ["out: cannot create the folder '{yaml}/run'"]),
    "weight of no group": (
        ["--config", "quickstart_grouped_ppo", "--algorithm.group_weights", '{{"Hotell": 3}}'],
        ["algorithm.group_weights: no prompt is in a group called Hotell"],
    ),
    "some roles on a GPU": (
        ["--cluster.resources.learner.gpus", "1"],
        ["must all be auto, all have GPUs or all have none"],
    ),
    "a header alone": (["--data.path", "{header}"], ["data.path", "cannot be read"]),
    "a second judge without that label": (
        ["--evaluation.second_judge", '{{"type": "classifier", "model": "quickstart/reward", "label": "polite"}}'],
        ["evaluation.second_judge.label", "polite"],
    ),
    "a second judge that is not there": (
        ["--evaluation.second_judge", '{{"type": "classifier", "model": "no/such", "label": "polite"}}'],
        ["evaluation.second_judge.model: 'no/such'"],
    ),
    "learners with one microbatch": (["--workers.learner", "2"], ["workers.learner (2)", "microbatch_size"]),
    "a cut beyond the limit": (["--rollout.min_cut", "99"], ["rollout.min_cut (99) exceeds"]),
    "no number of workers": (["--workers.reward", "many"], ["workers.reward: must be a number of at least 1, a span"]),
    "no workers": (["--workers.reward", "0"], ["workers.reward: must be a number of at least 1"]),
    "fewest over most": (
        ["--workers.reward", "5-2"],
        ["workers.reward: the lower end of 5-2 exceeds its upper end"],
    ),
    "no share": (["--cluster.resources.reward.cpus", "half"], ["cluster.resources.reward.cpus: must be auto or"]),
    "nothing at the address": (
        ["--cluster.address", "127.0.0.1:1"],
        ["cluster.address: nothing answers at 127.0.0.1:1"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_clear_message_and_exit_code_2_before_ray_starts(case, folder, capsys):
    given, expected = CASES[case]
    small = [f"--{key}={value}" for key, value in SMALL.items() if key != "cluster.backend"]
    code = ray_job.main([*small, *(argument.format(**folder) for argument in given)])
    error = capsys.readouterr().err
    assert code == 2, error
    assert not ray.is_initialized()
    for part in expected:
        assert part.format(**folder) in error
    lines = error.splitlines()
    assert "Traceback" not in error and len(set(lines)) == len(lines) <= 2


def test_a_refused_command_leaves_a_folder_as_it_is(folder):
    """It used to write status.json into a folder that it refused to use."""
    for command in ("train", "evaluate", "sft"):
        assert ray_job.main([command, *small_arguments(), "--out", str(folder["full"])]) == 2
        assert [path.name for path in folder["full"].iterdir()] == ["something"]


def test_a_folder_with_only_traces_of_a_run_that_failed_to_start_can_be_used(tmp_path):
    for name in (SIZES, STATUS, f".{STATUS}.writing"):
        (tmp_path / name).touch()
    check_out(small_config(out=tmp_path))
    (tmp_path / "steps.jsonl").touch()
    with pytest.raises(UsageError, match="is not an empty folder"):
        check_out(small_config(out=tmp_path))


def test_a_service_of_models_that_cannot_be_served_does_not_start(folder, capsys):
    wrong = [f"--policy.model={folder['broken']}", "--reward.parts.classifier.label=kind", "--serve.port=0"]
    assert ray_job.main(["serve", *wrong]) == 2
    error = capsys.readouterr().err
    assert "policy.model" in error and "reward.parts.classifier.label: the model has no single label 'kind'" in error
    assert not ray.is_initialized() and "Traceback" not in error


def test_one_message_lists_all_problems(folder, capsys):
    wrong = [
        "--policy.model",
        str(folder["empty"]),
        "--reward.parts.classifier.label",
        "kind",
        "--out",
        str(folder["full"]),
    ]
    assert ray_job.main(wrong) == 2
    error = capsys.readouterr().err
    assert all(field in error for field in ("policy.model", "reward.parts.classifier.label", "out: "))


def test_an_unknown_command_is_answered_with_the_list_of_commands(capsys):
    assert ray_job.main(["frobnicate"]) == 2
    assert "frobnicate: no such command; commands are: explore, sft, train" in capsys.readouterr().err


def test_a_broken_adapter_config_is_named(tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text("{")
    (tmp_path / "adapter_model.safetensors").touch()
    assert ray_job.main(["--policy.adapter", str(tmp_path)]) == 2
    assert "policy.adapter" in capsys.readouterr().err


def test_help_names_every_command_and_setting_without_loading_torch():
    script = "import sys, ray_job\ntry: ray_job.main(['--help'])\nfinally: sys.exit(3 if 'torch' in sys.modules else 0)"
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    for name in ("--config", "--seed", "--steps", "--out", "--cluster.backend", "--workers.rollout", "--workers.reward",
                 "--data.path", "--policy.model", "--policy.adapter", "--reward.parts"):  # fmt: skip
        assert f"{name} " in shown.stdout
    for verb in ray_job.VERBS:
        assert f"  {verb.name} " in shown.stdout and verb.help in shown.stdout


def test_the_process_exits_with_the_code(tmp_path):
    shutil.copytree(ROOT / "quickstart/policy", tmp_path / "policy")
    done = subprocess.run(
        [sys.executable, "ray_job.py", "--sede", "1"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stderr.startswith("error: --sede")
