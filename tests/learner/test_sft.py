"""Supervised fine-tuning: it learns what it is told, goes on where it was cut off, and refuses what cannot work."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import ray_job
from learner.adapter import tensors_sha256
from learner.policy import Policy
from learner.sft import LOG, make_trainer
from learner.targets import with_end
from learner.trainer_log import COMPLETE, newest, read_log
from service.commands.sft import is_complete
from tests.conftest import ROOT, small_config

SETTINGS = {"cluster.backend": "inline", "sft.epochs": 0.05, "sft.evals": 2, "sft.eval_rows": 4,
            "rollout.max_new_tokens": 12, "sft.batch_size": 8, "policy.lora.dropout": 0.1}  # fmt: skip
ARGUMENTS = ["sft", *[f"--{key}={value}" for key, value in SETTINGS.items()]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("sft") / "whole"
    assert ray_job.main([*ARGUMENTS, "--out", str(out)]) == 0
    return out


def made(folder: Path) -> str:
    return json.loads((folder / "sft.json").read_text())["adapter_sha256"]


def test_the_adapter_is_one_that_a_run_starts_from(whole, config):
    assert is_complete(whole)
    policy = Policy(config.policy.model_copy(update={"adapter": str(whole / "adapter")}), seed=0)
    assert tensors_sha256(policy.state(0).adapter) == made(whole)
    assert any(
        t.any() for name, t in load_file(whole / "adapter/adapter_model.safetensors").items() if "lora_B" in name
    )


def test_the_loss_is_the_cross_entropy_of_the_summary_with_its_end(whole, config):
    """Before the first update: by hand, over all tokens of the references, EOS among them."""
    from cluster.sft import examples

    model = AutoModelForSeq2SeqLM.from_pretrained(config.policy.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
    setting = small_config(sft__eval_rows=4)
    total = count = 0
    for ids, prefix, target in examples(setting).validation:
        assert prefix == (model.config.decoder_start_token_id,)
        target = with_end(target, [tokenizer.eos_token_id], 99)
        shifted = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=shifted).logits
        total -= logits.log_softmax(-1)[0, range(len(target)), target].sum().item()
        count += len(target)
    first = next(line for line in read_log(whole / LOG) if "eval_loss" in line)
    assert first["step"] == 0 and first["eval_loss"] == pytest.approx(total / count, rel=0.02)


def test_a_target_ends_where_the_tokenizer_puts_no_end():
    """It taught the model never to stop."""
    assert with_end([5, 6], [1, 2], 9) == [5, 6, 1]
    assert with_end([5, 6, 7], [1], 3) == [5, 6, 1], "no longer than it may be"
    assert with_end([], [1], 9) == [1]


def edited(folder, **files):
    """The quickstart's policy with other values in its JSON files."""
    shutil.copytree("quickstart/policy", folder)
    for name, changes in files.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_the_models_own_end_is_taught_where_the_tokenizer_has_none(tmp_path):
    from cluster.sft import examples, sft_settings

    ends = {"eos_token_id": 7}
    without = {"tokenizer_config": {"eos_token": None}, "generation_config": ends, "config": ends}
    config = small_config(policy__model=edited(tmp_path / "policy", **without), sft__eval_rows=4)
    made = examples(config)
    trainer = make_trainer(sft_settings(config), replace(made, train=made.train[:16]), tmp_path)
    for rows in (trainer.train_dataset, trainer.eval_dataset):
        assert {row["labels"][-1] for row in rows} == {7}
    assert trainer.model.get_base_model().generation_config.eos_token_id == [7]


def test_a_tokenizer_that_cannot_make_batches_is_told_of_before_anything_starts(tmp_path, capsys):
    folder = edited(tmp_path / "policy", tokenizer_config={"pad_token": None})
    assert ray_job.main([*ARGUMENTS, f"--policy.model={folder}", f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert f"policy.model: the tokenizer of {folder} has no pad token" in error and "Traceback" not in error


def test_figures_are_written_while_it_runs(whole):
    lines = read_log(whole / LOG)
    assert lines[0]["trainable"] == 18_432 and lines[0]["total"] == 677_248
    rouge = [line["eval_rougeL"] for line in lines if "eval_rougeL" in line]
    assert len(rouge) == 3 and all(0 < value <= 100 for value in rouge)
    assert json.loads((whole / "sft.json").read_text())["validation"]["rougeL"] == rouge[-1]
    assert any("loss" in line for line in lines)


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_gives_the_same(whole, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "ray_job.py", *ARGUMENTS, "--out", str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "validation ROUGE" in line and not line.startswith("step 0/"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_complete(out)
    assert ray_job.main(["sft", "--resume", str(out), "--cluster.backend", "inline"]) == 0
    assert made(out) == made(whole)
    steps = [line["step"] for line in read_log(out / LOG)]
    assert steps == sorted(steps)


def test_a_checkpoint_that_was_not_written_to_its_end_is_not_used(tmp_path):
    for step in (9, 10):
        (tmp_path / f"checkpoints/checkpoint-{step}").mkdir(parents=True)
    (tmp_path / "checkpoints/checkpoint-9" / COMPLETE).touch()
    assert newest(tmp_path).endswith("checkpoint-9")
    assert os.listdir(tmp_path / "checkpoints") == ["checkpoint-9"]


def test_what_is_complete_is_not_done_again(whole, capsys):
    before = (whole / "sft.json").stat().st_mtime_ns
    assert ray_job.main(["sft", "--resume", str(whole)]) == 0
    assert (whole / "sft.json").stat().st_mtime_ns == before and "nothing left to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sft.batch_size", "9", "--sft.workers", "2"], "sft.batch_size (9) must be a multiple of sft.workers (2)"),
        (["--sft.workers", "2"], "sft.workers: 2, but cluster.backend inline has one process"),
        (["--data.validation_split", "dev"], "no split dev; splits found: test, train, validation"),
        (["--data.min_chars", "999"], "0 dialogues of quickstart/dialogues (train)"),
        (["--policy.adapter", "nowhere"], "policy.adapter: 'nowhere'"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(arguments, expected, capsys):
    assert ray_job.main([*ARGUMENTS, *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error


def test_an_adapter_that_is_bin_only_is_loaded_where_that_is_accepted(whole, tmp_path, capsys):
    """As z7ye/peft-dialogue-summary-checkpoint is."""
    tensors = load_file(whole / "adapter/adapter_model.safetensors")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/adapter_config.json").write_bytes((whole / "adapter/adapter_config.json").read_bytes())
    torch.save(tensors, tmp_path / "bin/adapter_model.bin")
    arguments = ["evaluate", f"old={tmp_path / 'bin'}", "--cluster.backend=inline", "--evaluation.rows=2",
                 "--evaluation.samples=1", "--rollout.max_new_tokens=4", "--out", str(tmp_path / "out")]  # fmt: skip
    assert ray_job.main(arguments) == 2 and "--policy.adapter_bin true" in capsys.readouterr().err
    assert ray_job.main([*arguments, "--policy.adapter_bin", "true"]) == 0
    assert json.loads((tmp_path / "out/report.json").read_text())["policies"]["old"] == made(whole)
    assert "only tensors are read from" in capsys.readouterr().err
    (tmp_path / "file.yaml").write_text("base: quickstart\npolicy: {adapter_bin: true}")
    assert ray_job.main(["--config", str(tmp_path / "file.yaml")]) == 2
    assert "policy.adapter_bin: can be set on the command line only" in capsys.readouterr().err
