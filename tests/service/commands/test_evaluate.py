"""Any set of policies on the same dialogues: the right ones, resumable, and mistakes reported."""

import json

import pytest

import ray_job
from learner.adapter import tensors_sha256
from learner.checkpoints import load_checkpoint
from service.run.held_out_summaries import summary_settings
from tests.conftest import SMALL, small_arguments, small_config

SETTINGS = [f"--{key}={value}" for key, value in SMALL.items()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert ray_job.main(small_arguments(out=folder, algorithm__learning_rate=0.01)) == 0
    return folder


def evaluate(out, *policies, **settings):
    more = [f"--{key.replace('__', '.')}={value}" for key, value in settings.items()]
    return ray_job.main(["evaluate", *policies, *SETTINGS, *more, "--out", str(out)])


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluations") / "all"
    assert evaluate(out, "base", f"first={run}@1", f"adapter={run}/adapter", f"rlhf={run}") == 0
    return out


@pytest.fixture(scope="module")
def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_each_policy_is_the_one_that_was_named(run, report):
    hashes = report["policies"]
    assert hashes["rlhf"] == hashes["adapter"] == json.loads((run / "report.json").read_text())["adapter_sha256"]
    assert hashes["first"] == tensors_sha256(load_checkpoint(run / "checkpoints/step-000001").policy.adapter)
    assert len(set(hashes.values())) == 3


def test_its_results_equal_those_of_the_runs_own_report(run, report):
    own, ours = (
        json.loads((run / "report.json").read_text())["evaluation"]["policies"],
        report["evaluation"]["policies"],
    )
    assert ours["base"] == own["before"] and ours["rlhf"] == ours["adapter"] == own["after"]
    assert ours["first"]["sampled"] != ours["base"]["sampled"]
    assert ours["rlhf"]["sampled"]["kl_k3"]["mean"] > 1e-3 > ours["base"]["sampled"]["kl_k3"]["mean"]


def test_the_report_says_how_summaries_were_sampled_and_found(run, tmp_path, capsys):
    out, beams = tmp_path / "beams", {"evaluation__decoding": '{"type": "beam", "num_beams": 3}'}
    assert (
        evaluate(out, "base", f"rlhf={run}", rollout__temperature=0.8, rollout__top_p=0.9, evaluation__rows=3, **beams)
        == 0
    )
    printed = " ".join(capsys.readouterr().out.split())
    found = json.loads((out / "report.json").read_text())["evaluation"]
    assert (
        found["decoding"] == "beam search (3 beams, length penalty 1)"
        and found["sampling"] == "temperature 0.8, top_p 0.9"
    )
    assert list(found["policies"]["rlhf"]) == ["sampled", "beam"] and "ROUGE-L, beam search" in printed
    page = (out / "report.html").read_text()
    for words in (found["decoding"], found["sampling"]):
        assert words in printed and words in page
    assert found["policies"]["base"]["sampled"]["kl_k3"]["mean"] == pytest.approx(0, abs=1e-4)
    other = [summary_settings(small_config(**changed)) for changed in ({}, beams, {"rollout__top_p": 0.9})]
    assert other[0] != other[1] and other[0] != other[2], "a resumed evaluation makes its summaries anew"


def test_an_interrupted_evaluation_resumes_where_it_was(folder, tmp_path):
    """Saved units are not made again, and half a line does not count."""
    out = tmp_path / "cut"
    out.mkdir()
    for name in ("config.yaml", "policies.json"):
        (out / name).write_bytes((folder / name).read_bytes())
    (out / "evaluation").mkdir()
    whole = (folder / "evaluation/rlhf.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    marked = lines[1].replace(b'"text": "', b'"text": "kept from before ', 1)
    (out / "evaluation/rlhf.jsonl").write_bytes(b"".join([lines[0], marked, lines[2], lines[3][:50]]))
    stale = (folder / "evaluation/base.jsonl").read_bytes().replace(b'"adapter": "', b'"adapter": "other', 1)
    (out / "evaluation/base.jsonl").write_bytes(stale.replace(b'"text": "', b'"text": "of another policy ', 1))
    assert ray_job.main(["evaluate", "--resume", str(out)]) == 0
    assert (out / "evaluation/rlhf.jsonl").read_bytes() == whole.replace(lines[1], marked)
    assert (out / "evaluation/base.jsonl").read_bytes() == (folder / "evaluation/base.jsonl").read_bytes()


def test_the_baseline_is_a_setting(run, tmp_path):
    assert evaluate(tmp_path / "out", "base", f"rlhf={run}", evaluation__baseline="rlhf") == 0
    evaluation = json.loads((tmp_path / "out/report.json").read_text())["evaluation"]
    assert [(c["policy"], c["against"]) for c in evaluation["comparisons"]] == [("base", "rlhf")]
    assert evaluation["policies"]["rlhf"]["sampled"]["kl_k3"]["mean"] < 1e-4


@pytest.mark.parametrize(
    ("policies", "settings", "expected"),
    [
        (["nowhere"], {}, "nowhere: nowhere cannot be loaded as an adapter"),
        (["{run}@77"], {}, "has no checkpoint of step 77; available: step-000001, step-000002"),
        (["a b={run}"], {}, "'a b' cannot be a policy's name"),
        (["x=base", "x={run}"], {}, "two policies are called x"),
        (["base"], {"evaluation__baseline": "sft"}, "evaluation.baseline: 'sft' is not one of base"),
        (["b={bin}"], {}, "accept this with --policy.adapter_bin true"),
    ],
)
def test_a_mistake_is_reported_before_anything_starts(run, tmp_path, capsys, policies, settings, expected):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/adapter_config.json").write_bytes((run / "adapter/adapter_config.json").read_bytes())
    (tmp_path / "bin/adapter_model.bin").touch()
    named = [policy.format(run=run, bin=tmp_path / "bin") for policy in policies]
    assert evaluate(tmp_path / "out", *named, **settings) == 2
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error
