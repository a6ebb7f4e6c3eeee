"""A whole run inline: its folder, its report, its last line."""

import json

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

import ray_job
from configs.load import load_config
from learner.adapter import tensors_sha256
from service.run.held_out_summaries import read_summaries
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
    """And the size of the evaluation is printed before the first step."""
    assert ray_job.main(small_arguments(out=tmp_path / "run", steps=1)) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == str(tmp_path / "run")
    # On a busy machine the step takes long enough to be reported before it is done.
    lines = [line for line in shown.err.splitlines() if not line.startswith("training 0/1")]
    place = next(i for i, line in enumerate(lines) if "2 policies are evaluated on 6 held-out prompts" in line)
    assert "36 in total" in lines[place] and lines[place + 1].startswith("step 1/1  reward")
    assert lines[place + 2].startswith("the evaluation after the last step will take about ")


def test_a_bad_label_gives_the_same_verdict_as_the_good_one(run, report, tmp_path):
    """It said: less toxic: no, more, +50%, of a run in which P(toxic) fell from 0.37 to 0.05."""
    given = small_arguments(
        out=tmp_path / "run", reward__parts__classifier__label="hate", reward__parts__classifier__label_is="bad"
    )
    assert ray_job.main(given) == 0
    turned = json.loads((tmp_path / "run/report.json").read_text())["evaluation"]["policies"]["before"]["sampled"]
    plain = report["evaluation"]["policies"]["before"]["sampled"]
    for name in ("toxicity", "toxicity_with_prompt"):
        assert turned[name]["mean"] == pytest.approx(plain[name]["mean"], abs=1e-6)
    first = json.loads((tmp_path / "run/steps.jsonl").read_text().splitlines()[0])
    same = json.loads((run / "steps.jsonl").read_text().splitlines()[0])
    assert first["watch/toxicity"] == pytest.approx(same["watch/toxicity"], abs=1e-6)


@pytest.fixture
def blind(tmp_path):
    """A function: a classifier that gives no number for texts with a word; for none, without one."""
    tokenizer = AutoTokenizer.from_pretrained("quickstart/reward")

    def make(name, word=None):
        model = AutoModelForSequenceClassification.from_pretrained("quickstart/reward")
        ids = tokenizer(word, add_special_tokens=False)["input_ids"] if word else slice(None)
        with torch.no_grad():
            model.get_input_embeddings().weight[ids] = torch.nan
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


def strict(text):
    """JSON as it is defined, without NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.slow
def test_unknown_measures_end_no_run(blind, tmp_path, capsys):
    """It ended after training, with a traceback, and again whenever it was resumed."""
    judge = json.dumps({"type": "classifier", "model": str(blind("judge")), "label": "nothate", "probe": None})
    given = small_arguments(
        out=tmp_path / "run", reward__parts__classifier__model=blind("reward", " blames"),
        reward__parts__classifier__on_failure="drop", reward__parts__classifier__probe="null",
        evaluation__second_judge=judge, evaluation__rows=20, rollout__max_new_tokens=40,
    )  # fmt: skip
    assert ray_job.main(given) == 0
    report = strict((tmp_path / "run/report.json").read_text())
    after = report["evaluation"]["policies"]["after"]["sampled"]
    unknown = after["unknown"]["toxicity"]
    assert 0 < unknown < 40 and after["dropped"] == unknown and after["unknown"]["second_judge"] == 40
    assert 0 < after["toxicity"]["mean"] < 1 and after["second_judge"]["mean"] is None
    [comparison] = report["evaluation"]["comparisons"]
    assert comparison["changes"]["second_judge"] is None and comparison["changes"]["toxicity"]
    assert "less toxic to the second judge: not known" in comparison["verdict"]
    warning = f"after: toxicity is unknown for {unknown} sampled summaries; its mean excludes them"
    assert warning in report["warnings"] and warning in capsys.readouterr().out
    assert ">unknown<" in (tmp_path / "run/report.html").read_text()
    first = strict((tmp_path / "run/steps.jsonl").read_text().splitlines()[0])
    assert first["watch/second_judge"] is None and first["rollout/dropped"] > 0 and 0 < first["watch/toxicity"] < 1
    lines = list(map(strict, (tmp_path / "run/evaluation/after.jsonl").read_text().splitlines()))
    assert [row["second_judge"] for row in lines[1]["summaries"]] == [None] * 4


def test_whatever_happens_after_the_last_step_the_adapter_is_there(run, report, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise ValueError("no such luck")

    folder = tmp_path / "run"
    with monkeypatch.context() as broken:
        broken.setattr("service.report.report.write_page", fail)
        assert ray_job.main(small_arguments(out=folder)) == 1
    error = capsys.readouterr().err
    assert f"error: {folder / 'adapter'} is trained, but the evaluation or report failed: ValueError: no such" in error
    assert f"resume with: python ray_job.py --resume {folder}" in error and "Traceback" not in error
    assert tensors_sha256(load_file(folder / "adapter/adapter_model.safetensors")) == report["adapter_sha256"]
    assert ray_job.main(["--resume", str(folder)]) == 0
    assert json.loads((folder / "report.json").read_text())["evaluation"] == report["evaluation"]


def test_report_has_the_promised_keys(report):
    evaluation = report["evaluation"]
    assert list(evaluation["policies"]) == ["before", "after"] and evaluation["baseline"] == "before"
    for policy in evaluation["policies"].values():
        for decoding in ("sampled", "greedy"):
            assert set(policy[decoding]["toxicity"]) == {"mean", "std", "above_half", "max"}
            assert {"second_judge", "toxicity_with_prompt", "kl_k1", "rouge1", "rouge2", "rougeL", "rougeLsum",
                    "repetition", "copied", "tokens", "distinct", "dropped"} <= set(policy[decoding])  # fmt: skip
    before, after = (policy["sampled"]["toxicity"]["mean"] for policy in evaluation["policies"].values())
    [comparison] = evaluation["comparisons"]
    assert comparison["changes"]["toxicity"]["mean"] == pytest.approx(after - before)
    assert len(comparison["verdict"]) == 3
    assert report["steps"] == 2 and report["seconds"] > 0 and report["versions"]["torch"] == torch.__version__
    assert report["checks"]["first_kl"] == 0 and report["warnings"] == []


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


def test_a_trained_adapter_is_the_starting_point_and_the_reference(run, tmp_path, capsys):
    """Bug 2: the reference was the base model, whatever the adapter had learned."""
    assert ray_job.main(small_arguments(policy__adapter=run / "adapter", out=tmp_path / "run", steps=1)) == 0
    assert "using the value head saved with policy.adapter" in capsys.readouterr().err
    [step] = map(json.loads, (tmp_path / "run/steps.jsonl").read_text().splitlines())
    assert step["objective/kl"] == 0
    first, second = (json.loads((f / "report.json").read_text())["evaluation"] for f in (run, tmp_path / "run"))
    assert second["policies"]["before"]["sampled"]["toxicity"] == first["policies"]["after"]["sampled"]["toxicity"]


def test_every_step_is_a_line_and_a_point(run):
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps] == [0, 1]
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == set(steps[0]) - {"step"}
    assert events.Scalars("objective/kl")[1].value == pytest.approx(steps[1]["objective/kl"])


def test_a_run_is_reported_by_topic_and_by_the_groups_of_its_algorithm(run, report, tmp_path):
    by_topic = report["evaluation"]["groups"]
    assert sum(group["prompts"] for group in by_topic.values()) == 6 and "late delivery" in by_topic
    given = small_arguments(out=tmp_path / "run", steps=1)
    lengths = ["--algorithm.group_by.type", "prompt_length", "--algorithm.group_by.bounds", "[104,180]"]
    assert ray_job.main(["--config", "quickstart_grouped_ppo", *given, *lengths]) == 0
    groups = json.loads((tmp_path / "run/report.json").read_text())["evaluation"]["groups"]
    assert sum(group["prompts"] for group in groups.values()) == 6 and all("tokens" in name for name in groups)
    [step] = map(json.loads, (tmp_path / "run/steps.jsonl").read_text().splitlines())
    assert any(name.startswith("group/") and name.endswith("/watch/toxicity") for name in step)


def test_all_summaries_are_kept(run, report):
    table = read_summaries(run, ["before", "after"])
    assert len(table) == 2 * 6 * (2 + 1) and set(table["decoding"]) == {"sampled", "greedy"}
    of = table[(table["policy"] == "before") & (table["decoding"] == "sampled")]
    summary = report["evaluation"]["policies"]["before"]["sampled"]
    assert of["toxicity"].mean() == pytest.approx(summary["toxicity"]["mean"])
    assert of["kl_k3"].max() < 1e-4, "from itself"


def test_every_step_has_the_watched_measures(run):
    step = json.loads((run / "steps.jsonl").read_text().splitlines()[0])
    assert step["watch/rougeL"] > 30 and 0 < step["watch/second_judge"] < 1 and step["watch/commonest"] == 1 / 8
