"""`dpo`: an adapter that others can use, the same after any kill, and errors before anything starts."""

import json
import shutil

import pytest
from safetensors.torch import load_file

import ray_job
from configs.load import load_config
from learner.adapter import tensors_sha256
from service.run.policy_source import PolicySource
from service.run.preference_lines import plan_lines
from tests.conftest import read_prompts, small_arguments, small_config
from tests.learner.preference_rows import plan_of
from tests.service.commands.test_resume import process
from tests.simulated_pairs import write
from workers.preferences.files import read_preferences

SETTINGS = {"rollout__max_new_tokens": 60, "dpo__batch_size": 4, "dpo__microbatch_size": 2, "dpo__evals": 3,
            "dpo__held_out": 0.2, "dpo__epochs": 1, "dpo__learning_rate": 0.01}  # fmt: skip
STEPS = 3


@pytest.fixture(scope="module")
def rows():
    """Pairs of references, one of them a tie and one of equal completions."""
    prompts = read_prompts(small_config())[:16]
    made = [{"prompt": own.text, "chosen": own.references[0], "rejected": other.references[0], "tie": False}
            for own, other in zip(prompts, [*prompts[1:], prompts[0]], strict=True)]  # fmt: skip
    made[0]["tie"] = True
    made[1] |= {"rejected": made[1]["chosen"], "tie": True}
    return made


@pytest.fixture(scope="module")
def pairs(rows, tmp_path_factory):
    return write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows)


def arguments(pairs, out, **overrides):
    return ["dpo", "--pairs", str(pairs), *small_arguments(**SETTINGS | overrides), "--out", str(out)]


@pytest.fixture(scope="module")
def whole(pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("dpo") / "whole"
    assert ray_job.main(arguments(pairs, out)) == 0
    return out


def outcome(folder):
    """What must be the same: the adapters' hashes, and the steps without their times and retries."""
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    steps = [{k: v for k, v in step.items() if not k.startswith(("time/", "retries/"))} for step in lines]
    made = [tensors_sha256(load_file(folder / name / "adapter_model.safetensors")) for name in ("adapter", "best")]
    return made, steps, json.loads((folder / "dpo.json").read_text())["adapter_sha256"]


def test_the_folder_holds_an_adapter_that_evaluate_and_the_next_run_take(whole):
    [last, _], steps, told = outcome(whole)
    assert told == last and len(steps) == STEPS
    assert steps[-1]["held_out/loss/total"] < steps[0]["loss/total"] == pytest.approx(0.693147, abs=1e-6)
    policy = load_config(small_arguments()).policy
    assert tensors_sha256(PolicySource("dpo", str(whole)).read(policy).tensors) == last
    assert tensors_sha256(PolicySource("dpo", f"{whole}@{STEPS}").read(policy).tensors) == last
    assert list((whole / "tensorboard").iterdir()) and not (whole / "status.json").exists()
    log = (whole / "log.txt").read_text()
    assert "examples: 15 of 16; left out: 1 whose completions are the same tokens" in log
    assert "before the first update the policy was its reference: log-probabilities differ by 0 per token" in log


def test_resuming_what_is_complete_does_nothing(whole, capsys):
    before = outcome(whole)
    assert ray_job.main(["dpo", "--resume", str(whole)]) == 0
    assert "is complete: nothing left to do" in capsys.readouterr().err and outcome(whole) == before


@pytest.mark.parametrize("step", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_after_any_step_and_resumed_gives_the_same(whole, pairs, tmp_path, step):
    folder = tmp_path / "run"
    assert process(arguments(pairs, folder), stubs=False, step=step) == -9
    assert not (folder / "dpo.json").exists()
    assert process(["dpo", "--resume", folder], stubs=False) == 0
    assert outcome(folder) == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("at", range(5, 200, 30))
def test_killed_at_a_file_operation_and_resumed_gives_the_same(whole, pairs, tmp_path, at):
    folder = tmp_path / "run"
    if process(arguments(pairs, folder), stubs=False, act="kill", at=at) == -9:
        again = ["dpo", "--resume", folder] if (folder / "config.yaml").exists() else arguments(pairs, folder)
        assert process(again, stubs=False) == 0
    assert outcome(folder) == outcome(whole)


def test_a_damaged_last_line_of_the_references_is_computed_again(whole, pairs, tmp_path):
    folder = tmp_path / "run"
    assert process(arguments(pairs, folder), stubs=False, step=0) == -9
    file = folder / "reference.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    assert process(["dpo", "--resume", folder], stubs=False) == 0
    assert outcome(folder) == outcome(whole)


def test_pairs_that_changed_are_refused_and_pairs_that_moved_are_not(whole, rows, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "dpo.json").unlink()
    moved = write(tmp_path / "moved.jsonl", rows)
    assert ray_job.main(["dpo", "--resume", str(folder), "--pairs", str(moved)]) == 0
    (folder / "dpo.json").unlink()
    write(moved, rows[:-1])
    assert ray_job.main(["dpo", "--resume", str(folder), "--pairs", str(moved)]) == 2
    assert f"dpo.pairs: not the pairs that {folder} started with" in capsys.readouterr().err


def test_a_run_of_another_kind_cannot_go_on_in_the_folder(whole, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    before = outcome(folder)
    assert ray_job.main(["--resume", str(folder)]) == 2
    assert "not the ones that" in capsys.readouterr().err and outcome(folder) == before


BAD = {
    "no pairs": ([], {}, "dpo.pairs: name a file of pairs with --pairs"),
    "both": (["--pairs", "PAIRS", "--ratings", "PAIRS"], {}, "--ratings, not both"),
    "thumbs for dpo": (["--ratings=PAIRS"], {}, "dpo.ratings: the loss dpo compares two completions"),
    "a missing file": (["--pairs", "nowhere.jsonl"], {}, "dpo.pairs: nowhere.jsonl does not exist"),
    "prompts too long": (["--pairs", "PAIRS"], {"data__max_prompt_tokens": 20},
                         "can be learnt from: 0 of 16; left out: 1 whose completions are the same tokens, 15 whose "
                         "prompt is over data.max_prompt_tokens"),
    "completions too long": (["--pairs", "PAIRS"], {"rollout__max_new_tokens": 5}, "over rollout.max_new_tokens"),
    "two learners in one process": (["--pairs", "PAIRS"], {"dpo__workers": 2}, "dpo.workers: 2, but cluster.backend"),
    "one microbatch": (["--pairs", "PAIRS"], {"dpo__workers": 2, "dpo__microbatch_size": 4},
                       "dpo.workers (2): learners share the microbatches"),
    "another loss's setting": (["--pairs", "PAIRS"], {"dpo__loss__type": "ipo", "dpo__loss__gamma": 1},
                               "dpo.loss.gamma: is not a setting of this `type`"),
    "an unknown loss": (["--pairs", "PAIRS"], {"dpo__loss__type": "dpoo"}, "dpo.loss: "),
    "languages by row": (["--pairs", "PAIRS"], {"data__tgt_lang_column": "language"}, "data.tgt_lang_column"),
    "a folder in use": (["--pairs", "PAIRS", "--out", "docs"], {}, "out: docs exists and is not an empty folder"),
    "no model": (["--pairs", "PAIRS"], {"policy__model": "quickstart/reward"}, "is not an encoder-decoder model"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_before_anything_starts(case, pairs, capsys):
    words, overrides, expected = BAD[case]
    given = [word.replace("PAIRS", str(pairs)) for word in words]
    assert ray_job.main(["dpo", *small_arguments(**SETTINGS | overrides), *given]) == 2
    assert expected in capsys.readouterr().err


def test_thumbs_are_learnt_by_kto(rows, tmp_path):
    thumbs = [{"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"}
              for row in rows[2:8] for name in ("chosen", "rejected")]  # fmt: skip
    file, out = write(tmp_path / "thumbs.jsonl", thumbs), tmp_path / "run"
    settings = small_arguments(**SETTINGS | {"dpo__loss__type": "kto", "dpo__held_out": 0})
    assert ray_job.main(["dpo", "--ratings", str(file), *settings, "--out", str(out)]) == 0
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert steps[0]["loss/total"] == pytest.approx(0.5) and len(steps) == STEPS
    assert not (out / "best").exists(), "nothing was held out"


def test_prompts_that_no_template_made_are_warned_of(rows, tmp_path):
    raw = [row | {"prompt": row["prompt"].splitlines()[2]} for row in rows]
    for name, made, warned in (("raw", raw, True), ("made", rows, False)):
        found = read_preferences(str(write(tmp_path / f"{name}.jsonl", made)), "dpo.pairs")
        config = load_config(small_arguments(**SETTINGS))
        lines = plan_lines(plan_of(config, found), config.data.template)
        assert any("data.template" in line for line in lines) is warned
