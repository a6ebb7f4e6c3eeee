"""`train-reward`: what it writes is a reward, with its measures; below a bound runs refuse it."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from plotly.offline import get_plotlyjs

import ray_job
from cluster.preflight.measured_models import check_measured
from cluster.preflight.preflight import preflight
from cluster.preflight.reward_training import check_reward_training
from configs.errors import UsageError
from configs.load import load_config, load_request
from configs.rewards import RewardConfig
from learner.trainer_log import read_log
from service.commands.train_reward import is_complete
from service.report.reward_model import quality_lines, write_page
from tests.conftest import ROOT, small_arguments
from tests.preferences import INSULTS, simulated, write
from workers.preferences.encoding import both_items
from workers.preferences.splits import split
from workers.reward.rewards import Rewards

FAST = ["--cluster.backend=inline", "--reward_training.epochs=2", "--reward_training.evals=2",
        "--reward_training.batch_size=8", "--reward_training.learning_rate=5e-3"]  # fmt: skip
BRIEF = [*FAST, "--reward_training.learning_curve=false"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs of three simulated annotators, two of whom answered each question; some are ties."""
    answers = simulated(40, annotators=2, ties=0.1)
    return write(answers, tmp_path_factory.mktemp("pairs") / "pairs.jsonl")


@pytest.fixture(scope="module")
def made(pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("reward") / "made"
    current = write(simulated(12, seed=5), out.parent / "current.jsonl")
    arguments = ["--pairs", str(pairs), f"--reward_training.current_pairs={current}", "--out", str(out)]
    assert ray_job.main(["train-reward", *FAST, *arguments]) == 0
    return out


def result(folder):
    return json.loads((folder / "reward_model.json").read_text())


def test_the_folder_is_a_model_with_its_measures(made):
    found = result(made)
    assert is_complete(load_request(["--resume", str(made)]).config, made)
    assert found["accuracy"] == 1 and found["ceiling"]["accuracy"] == 1 and found["ceiling"]["questions"] > 20
    assert found["current"]["accuracy"] == 1 and found["current"]["pairs"] == 12
    assert [point["learnt_from"] for point in found["curve"]] == [16, 32, 64]
    assert found["data"]["train"] == 64 and found["data"]["held_out"] == 16 and found["data"]["ties"] > 3
    assert not (made / "trainings").exists(), "checkpoints are removed"


def test_a_run_takes_it_as_a_reward_by_the_settings_that_were_printed(made):
    log = (made / "log.txt").read_text()
    settings = json.loads(re.search(r"use it with: .* --reward.parts.learned '(.*)'", log)[1])
    config = load_config(small_arguments(reward__parts__learned=json.dumps(settings)))
    preflight(config)
    part = {**settings, "dtype": "float32"}
    rewards = Rewards(RewardConfig.model_validate({"parts": {"learned": part}}), torch.device("cpu"))
    items = [item for pair in simulated(30, seed=9) for item in both_items(pair)]
    totals = rewards(items, str).total
    rude = torch.tensor([any(word in item.completion for word in INSULTS) for item in items])
    assert totals[~rude].min() > totals[rude].max()
    assert totals.std() == pytest.approx(1, abs=0.3), "standardised"


def test_its_page_shows_the_measures_and_the_pairs_ranked_most_wrongly_as_texts(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "copy")
    rows = [json.loads(line) for line in (copy / "held_out.jsonl").read_text().splitlines()]
    rows[0] |= {"chosen": "<script>alert(1)</script>", "score_chosen": -9.0, "tie": False}
    (copy / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_page(copy)
    page = (copy / "reward_model.html").read_text()
    own = page.replace(get_plotlyjs(), "")
    assert "held-out accuracy 100.0%" in own and own.count("<figure>") == 4
    assert "&lt;script&gt;alert(1)" in own and "<script>alert" not in own
    assert not re.search(r"(src|href)=", own), "it fetches nothing"


def test_the_log_shows_which_layers_are_new_and_how_it_learns(made):
    text = (made / "log.txt").read_text()
    assert "of 206,402 parameters are trained; new layers: classifier.out_proj" in text
    assert "80 pairs: 64 to learn from, 16 held out" in text
    lines = read_log(made / "logs/member0.jsonl")
    assert lines[0]["of_all"] == lines[0]["before"] + lines[-1]["of"]
    losses = [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_what_is_complete_is_not_done_again_and_what_was_changed_is(made, tmp_path, capsys):
    assert ray_job.main(["train-reward", "--resume", str(made)]) == 0
    assert "nothing left to do" in capsys.readouterr().err
    copy = shutil.copytree(made, tmp_path / "copy")
    shutil.copy("quickstart/reward/model.safetensors", copy)
    assert not is_complete(load_request(["--resume", str(copy)]).config, copy)


def test_other_pairs_do_not_resume_a_training(made, pairs, tmp_path, capsys):
    copy = shutil.copytree(made, tmp_path / "copy")
    (copy / "reward_model.json").unlink()
    other = write(simulated(40, seed=3), tmp_path / "other.jsonl")
    arguments = ["train-reward", "--resume", str(copy), "--resume_changed", "true", "--pairs", str(other)]
    assert ray_job.main(arguments) == 2
    assert "the pairs have changed since" in capsys.readouterr().err


def refusal(folder, **part):
    """What is said of a part of the reward; empty if it is accepted."""
    settings = {"type": "classifier", "model": str(folder), "probe": None, **part}
    try:
        check_measured(RewardConfig.model_validate({"parts": {"learned": settings}}).parts)
    except UsageError as error:
        return str(error)
    return ""


def test_a_model_that_is_too_inaccurate_is_refused_unless_forced(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "copy")
    (copy / "reward_model.json").write_text(json.dumps(result(made) | {"accuracy": 0.55}))
    found = refusal(copy)
    assert f"reward.parts.learned.model: {copy} agrees with 55.0% of the held-out preferences" in found
    assert "min_accuracy of 60.0%" in found and "--reward.parts.learned.force true" in found
    assert refusal(copy, force=True) == ""
    members = json.dumps({"type": "ensemble", "members": [{"model": str(made)}, {"model": str(copy)}]})
    with pytest.raises(UsageError, match=r"reward.parts.learned.members.1.model: .* agrees with 55.0%"):
        preflight(load_config(small_arguments(reward__parts__learned=members)))
    lines = quality_lines(result(copy))
    assert "below reward_training.min_accuracy 60.0%: runs refuse this model" in lines[0]


def test_a_model_that_learnt_from_another_text_is_refused(made):
    assert "has learnt to score completion; set --reward.parts.learned.text completion" in refusal(
        made, text="prompt+completion"
    )


def test_measures_that_were_damaged_are_told_of(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "copy")
    for text in ("{", "[]", '{"accuracy": "high"}'):
        (copy / "reward_model.json").write_text(text)
        assert f"{copy}/reward_model.json: is not as train-reward wrote it" in refusal(copy)


def test_what_was_measured_is_the_split_that_was_learnt_from(made, pairs):
    plan = check_reward_training(load_request(["--resume", str(made)]).config, made)
    held_out = {json.loads(line)["prompt"] for line in (made / "held_out.jsonl").read_text().splitlines()}
    assert held_out == {pair.prompt for pair in plan.split.held_out}
    assert not held_out & {pair.prompt for pair in plan.split.train}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "reward_training.pairs: is required; name a file of pairs by --pairs"),
        (["--pairs", "nowhere.jsonl"], "reward_training.pairs: nowhere.jsonl does not exist"),
        (["--pairs", "{broken}"], "reward_training.pairs: "),
        (["--pairs", "{few}"], "4 pairs to learn from that are no ties, at least 8 are needed"),
        (["--pairs", "{ties}"], "all 40 pairs are ties"),
        (["--pairs", "{one}"], "all 40 pairs have one prompt"),
        (["--pairs", "{pairs}", "--reward_training.model", "quickstart/dialogues"], "holds no config.json"),
        (["--pairs", "{pairs}", "--reward_training.model", "nowhere"], "reward_training.model: 'nowhere'"),
        (["--pairs", "{pairs}", "--reward_training.lora.target_modules", "q9"], "has no layer called q9"),
        (["--pairs", "{pairs}", "--reward_training.workers", "3"], "must be a multiple of reward_training.workers (3)"),
        (["--pairs", "{pairs}", "--reward_training.workers", "2"], "cluster.backend inline has one process"),
        (["--pairs", "{pairs}", "--reward.parts", '{{"classifier": null, "r": {{"type": "rouge"}}}}'],
         "reward_training.model: name a classifier to start from"),
        (["--pairs", "{pairs}", "--reward_training.held_out_pairs", "{pairs}"], "0 pairs to learn from"),
        (["--pairs", "{pairs}", "--reward_training.current_pairs", "gone"], "reward_training.current_pairs: gone does"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_before_anything_starts(arguments, expected, pairs, tmp_path, capsys):
    answers = simulated(40)
    files = {"pairs": pairs, "few": write(simulated(5), tmp_path / "few.jsonl"), "broken": tmp_path / "broken.jsonl",
             "ties": write([replace(pair, tie=True) for pair in answers], tmp_path / "ties.jsonl"),
             "one": write([replace(pair, prompt="one") for pair in answers], tmp_path / "one.jsonl")}  # fmt: skip
    files["broken"].write_text('{"prompt": "a", "chosen": "b"')
    given = [argument.format(**files) for argument in arguments]
    assert ray_job.main(["train-reward", *BRIEF, *given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_gives_the_same_bits(made, pairs, tmp_path):
    out = tmp_path / "killed"
    current = made.parent / "current.jsonl"
    arguments = ["--pairs", str(pairs), f"--reward_training.current_pairs={current}", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "ray_job.py", "train-reward", *FAST, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:  # in the middle of the last training, with a checkpoint
        if re.match(r"member0, step [1-9]\d*/.*held-out accuracy", line):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "reward_model.json").exists() and not (out / "config.json").exists()
    assert ray_job.main(["train-reward", "--resume", str(out), "--cluster.backend", "inline"]) == 0
    assert result(out) == result(made)


@pytest.mark.slow
def test_an_ensemble_is_as_many_models_that_a_reward_reads_together(pairs, tmp_path):
    out = tmp_path / "ensemble"
    several = ["--reward_training.members=2", "--reward_training.lora=null"]
    assert ray_job.main(["train-reward", *BRIEF, *several, "--pairs", str(pairs), "--out", str(out)]) == 0
    found = result(out)
    assert len(set(found["models_sha256"])) == 2 == len(found["members"]) and found["curve"] == []
    assert is_complete(load_request(["--resume", str(out)]).config, out)
    settings = json.loads(re.search(r"--reward.parts.learned '(.*)'", (out / "log.txt").read_text())[1])
    assert settings["type"] == "ensemble" and result(out / "members/1") == found
    preflight(load_config(small_arguments(reward__parts__learned=json.dumps(settings))))
    shutil.copy(out / "members/0/model.safetensors", out / "members/1")
    assert not is_complete(load_request(["--resume", str(out)]).config, out)


@pytest.mark.slow
def test_errors_of_annotators_are_told_from_errors_of_the_model(tmp_path):
    """Simulated annotators who err in 20% of their answers: the model is right as often as they are, and as sure."""
    answers, out = simulated(700, flips=0.2, annotators=2), tmp_path / "noisy"
    arguments = ["--cluster.backend=inline", "--reward_training.held_out=0.5", "--out", str(out)]
    assert ray_job.main(["train-reward", *arguments, "--pairs", str(write(answers, tmp_path / "noisy.jsonl"))]) == 0
    found = result(out)
    low, high = found["ceiling"]["interval"]
    assert low <= 0.8 <= high and found["ceiling"]["agreement"] == pytest.approx(0.68, abs=0.05)
    assert abs(found["accuracy"] - found["ceiling"]["accuracy"]) < 0.03
    calibration = found["calibration"]
    assert calibration["temperature"] == pytest.approx(1, abs=0.35) and calibration["ece_scaled"] < 0.03
    assert calibration["brier_scaled"] == pytest.approx(0.8 * 0.2, abs=0.02), "that of the true probability"
    test = split(answers, None, 0.5, 0).held_out
    assert found["pairs"] == len(test)
