"""A whole run inline: its folder, its report, its last line."""

import json

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForSeq2SeqLM

import ray_job
from configs.load import load_config
from learner.adapter import tensors_sha256
from service.report import _cell
from tests.conftest import small_arguments


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert ray_job.main(small_arguments(out=folder)) == 0
    return folder


@pytest.fixture(scope="module")
def report(run):
    return json.loads((run / "report.json").read_text())


def test_last_line_of_standard_output_is_the_folder(tmp_path, capsys):
    assert ray_job.main(small_arguments(out=tmp_path / "run", steps=1)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "run")


def test_report_has_the_promised_keys(report):
    for side in ("before", "after"):
        assert set(report["toxicity"][side]) == {"mean", "std"}
        assert set(report["rouge"][side]) == {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    assert set(report["toxicity"]["improvement_percent"]) == {"mean", "std"}
    before, after = (report["toxicity"][side]["mean"] for side in ("before", "after"))
    assert report["toxicity"]["improvement_percent"]["mean"] == pytest.approx(100 * (before - after) / before)
    assert report["steps"] == 2 and report["seconds"] > 0 and report["versions"]["torch"] == torch.__version__
    assert report["checks"]["first_kl"] == 0


def test_config_reads_back_and_gives_the_same_adapter(run, report, tmp_path):
    assert yaml.safe_load((run / "config.yaml").read_text())["steps"] == 2
    arguments = ["--config", str(run / "config.yaml"), "--out", str(tmp_path / "again")]
    assert load_config(arguments).steps == 2
    assert ray_job.main(arguments) == 0
    assert json.loads((tmp_path / "again/report.json").read_text())["adapter_sha256"] == report["adapter_sha256"]


def test_adapter_is_one_that_peft_loads(run, report):
    """Bug 12: only the value head was kept."""
    tensors = load_file(run / "adapter/adapter_model.safetensors")
    assert tensors_sha256(tensors) == report["adapter_sha256"]
    model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy"), run / "adapter")
    loaded = model.state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name.replace(".weight", ".default.weight")], tensor)
    assert any(t.any() for n, t in tensors.items() if "lora_B" in n), "two steps moved it"
    assert set(load_file(run / "adapter/value_head.safetensors")) == {"weight", "bias"}


def test_a_trained_adapter_is_the_starting_point_and_the_reference(run, tmp_path):
    """Bug 2: the reference was the base model, whatever the adapter had learned."""
    assert ray_job.main(small_arguments(policy__adapter=run / "adapter", out=tmp_path / "run", steps=1)) == 0
    [step] = map(json.loads, (tmp_path / "run/steps.jsonl").read_text().splitlines())
    assert step["objective/kl"] == 0
    before, after = (json.loads((f / "report.json").read_text())["toxicity"] for f in (run, tmp_path / "run"))
    assert after["before"] == before["after"], "it starts where the first run ended"


def test_every_step_is_a_line_and_a_point(run):
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps] == [0, 1]
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == set(steps[0]) - {"step"}
    assert events.Scalars("objective/kl")[1].value == pytest.approx(steps[1]["objective/kl"])


def test_report_for_people_shows_the_pairs_sorted_by_gain(run):
    lines = (run / "report.md").read_text().splitlines()
    rows = [line for line in lines[lines.index("|---:|---|---|---|") + 1 :] if line.startswith("|")]
    gains = [float(row.split("|")[1]) for row in rows]
    assert len(rows) == 6 and gains == sorted(gains, reverse=True)


def test_grouped_run_shows_each_group(tmp_path):
    assert ray_job.main(["--config", "quickstart_grouped_ppo", *small_arguments(out=tmp_path / "run", steps=1)]) == 0
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert sum(group["prompts"] for group in report["groups"].values()) == 6
    text = (tmp_path / "run/report.md").read_text()
    assert "## By group" in text and all(f"| {name} |" in text for name in report["groups"])
    [step] = map(json.loads, (tmp_path / "run/steps.jsonl").read_text().splitlines())
    assert any(name.startswith("group/") and name.endswith("/toxicity") for name in step)


def test_all_summaries_are_kept(run, report):
    lines = [json.loads(line) for line in (run / "summaries.jsonl").read_text().splitlines()]
    assert len(lines) == 6 * 2
    mean = sum(line["before"]["toxicity"] for line in lines) / len(lines)
    assert mean == pytest.approx(report["toxicity"]["before"]["mean"])


def test_a_text_cannot_break_out_of_its_cell():
    assert _cell("a|b\n<script>") == "a&#124;b &lt;script&gt;" and _cell("") == "(empty)"
