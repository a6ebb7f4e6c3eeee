"""`ray_job.py reward`: requests that cannot be met, the run's answer, and kills before and after it."""

import json
import shutil
import threading
from pathlib import Path

import pytest

import ray_job
from configs.reward_change import RewardChange
from learner.checkpoints import load_checkpoint
from service.run.folder import write_config
from service.run.lock import lock_folder
from service.run.reward_changes import RunRewards, read_changes, request_change, waiting
from tests.conftest import small_arguments, small_config
from tests.service.commands.test_resume import STEPS, outcome, process
from tests.workers.rewards import MODEL, tiny_classifier
from workers.reward.versions import Trial


@pytest.fixture
def running(tmp_path):
    """The folder of a run, as it is between two steps."""
    write_config(tmp_path, small_config(steps=9))
    with lock_folder(tmp_path):
        yield tmp_path


def command(folder, *arguments) -> int:
    return ray_job.main(["reward", str(folder), *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "reward.parts.classifier: nothing to change; name a setting, such as model or weight"),
        (["0.5"], "0.5: is neither an option nor its value"),
        (["--weight"], "weight: a value is missing"),
        (["--weight", "x"], "reward.parts.classifier.weight: "),
        (["--wieght", "1"], "reward.parts.classifier.wieght: no such key; did you mean reward.parts.NAME.weight?"),
        (["--part", "tone", "--weight", "1"], "reward.parts.tone: the reward has no such part; it has classifier"),
        (["--at_step", "9", "--weight", "1"], "--at_step: the run has steps 0 to 8, not 9"),
        (["--type", "length"], "reward.parts.classifier.type: cannot change while a run goes on"),
        (["--function", "os:system"], "reward.parts.classifier.function: cannot change while a run goes on"),
        (["--model", "nowhere"], "reward.parts.classifier.model: 'nowhere' is not a directory"),
        (["--model", "configs"], "configs holds no config.json"),
        (["--label", "kind"], "the model has no single label 'kind'; it has nothate, hate"),
        (["--standardise.std", "0"], "reward.parts.classifier.standardise.std: "),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_at_once(running, capsys, arguments, expected):
    assert command(running, *arguments) == 2
    assert expected in capsys.readouterr().err and not (running / "reward").exists()


def test_only_a_run_that_has_steps_left_takes_requests(running, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other")
    write_config(other, small_config())
    assert command(other, "--weight", 2) == 2
    assert "no run is running in this folder" in capsys.readouterr().err
    (running / "steps.jsonl").write_text("".join(f'{{"step": {step}}}\n' for step in range(9)))
    assert command(running, "--weight", 2) == 2
    assert "its 9 steps are done" in capsys.readouterr().err


def answered(folder, answer, *arguments) -> int:
    """Exit code of the command, whose request gets this answer."""
    codes: list[int] = []
    asking = threading.Thread(target=lambda: codes.append(command(folder, *arguments)))
    asking.start()
    rewards = RunRewards(folder, small_config().reward, lambda text: None)
    while not (found := rewards.due(3)):
        asking.join(0.01)
    answer(rewards, found[0])
    asking.join()
    return codes[0]


def accept(rewards, request):
    reward = request.change.applied_to(rewards.versions[-1].reward)
    rewards.accept(request, 3, Trial(reward))


def test_the_command_prints_from_which_step_on_the_change_counts(running, capsys):
    assert answered(running, accept, "--weight", "0.5", "--at_step", 3) == 0
    assert capsys.readouterr().out == "reward version 1 from step 3 on: classifier with weight 0.5\n"


def test_a_model_with_one_output_needs_no_label_and_leaves_toxicity_to_the_part_of_the_start(running, tmp_path_factory):
    model = tiny_classifier(tmp_path_factory.mktemp("model"), num_labels=1)
    assert answered(running, accept, "--model", model) == 0
    assert answered(running, accept, "--model", MODEL, "--label", "nothate", "--standardise", "null") == 0
    first, second = (line["settings"] for line in read_changes(running))
    assert first == {"model": model, "label": None, "label_is": "good", "toxicity": False}
    assert second["model"].endswith(f"/{MODEL}") and second["model"].startswith("/") and second["standardise"] is None


def test_a_model_that_agrees_too_little_with_people_is_refused_as_at_a_start(running, tmp_path_factory, capsys):
    """The run would take it, and could not be resumed."""
    model = tiny_classifier(tmp_path_factory.mktemp("model"), num_labels=1)
    measured = {"accuracy": 0.55, "min_accuracy": 0.6, "text": "completion"}
    (Path(model) / "reward_model.json").write_text(json.dumps(measured))
    assert command(running, "--model", model, "--wait", 0) == 2
    assert "agrees with 55.0% of the held-out preferences" in capsys.readouterr().err
    assert answered(running, accept, "--model", model, "--force", "true") == 0


def test_who_asked_is_told_why_the_run_refused(running, capsys):
    assert answered(running, lambda rewards, one: rewards.refuse(one, ["the probe is reversed"]), "--weight", 2) == 2
    assert "error: the probe is reversed" in capsys.readouterr().err


def test_who_asked_does_not_wait_for_ever(running, capsys):
    assert command(running, "--weight", 2, "--wait", 0) == 1
    assert "the run began no step within 0 s" in capsys.readouterr().err
    assert command(running, "--weight", 2, "--wait", 0, "--at_step", 4) == 0
    assert "requested for step 4" in capsys.readouterr().out
    assert len(waiting(running)) == 2


def begun(folder, stubs: bool, **settings):
    """A run that was killed after its first step, with a request to change the reward in the next."""
    assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=stubs, step=0) == -9
    request_change(folder, RewardChange("classifier", settings), 1)
    return folder


def copy(folder, target):
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(folder, target)


def facts(folder):
    return outcome(folder), (folder / "rewards.jsonl").read_bytes()


@pytest.fixture(scope="module")
def stubbed(tmp_path_factory):
    return begun(tmp_path_factory.mktemp("stubbed") / "run", stubs=True, weight=3)


@pytest.fixture(scope="module")
def undisturbed(stubbed, tmp_path_factory):
    folder = copy(stubbed, tmp_path_factory.mktemp("whole") / "run")
    assert process(["--resume", folder], stubs=True) == 0
    assert [line["step"] for line in read_changes(folder)] == [1]
    return facts(folder)


@pytest.mark.slow
def test_killed_after_the_change_and_resumed_gives_the_same(stubbed, undisturbed, tmp_path):
    """Once from the checkpoint after the change, which names its version, and once from the one before it."""
    folder = copy(stubbed, tmp_path / "run")
    assert process(["--resume", folder], stubs=True, step=1) == -9
    assert load_checkpoint(folder / "checkpoints/step-000002").reward == 1
    before = copy(folder, tmp_path / "before")
    shutil.rmtree(before / "checkpoints/step-000002")
    for killed in (folder, before):
        assert process(["--resume", killed], stubs=True) == 0
        assert facts(killed) == undisturbed


@pytest.mark.chaos
def test_killed_at_any_file_operation_around_the_change_and_resumed_gives_the_same(stubbed, undisturbed, tmp_path):
    changed = 0
    for at in range(20, 180, 11):
        folder = copy(stubbed, tmp_path / "run")
        code = process(["--resume", folder], stubs=True, act="kill", at=at)
        changed += code == -9 and (folder / "rewards.jsonl").exists()
        assert code == 0 or process(["--resume", folder], stubs=True) == 0, at
        assert facts(folder) == undisturbed, at
    assert changed > 3


@pytest.mark.slow
def test_a_new_model_survives_a_kill_and_is_evaluated_by(tmp_path):
    model = tiny_classifier(tmp_path / "model", num_labels=1)
    settings = {"model": model, "label": None, "toxicity": False, "probe": None}
    folder = begun(tmp_path / "run", stubs=False, **settings)
    whole = copy(folder, tmp_path / "whole")
    assert process(["--resume", whole], stubs=False) == 0
    assert process(["--resume", folder], stubs=False, step=1) == -9
    assert process(["--resume", folder], stubs=False) == 0
    assert facts(folder) == facts(whole)
    head = json.loads((folder / "evaluation/after.jsonl").read_text().splitlines()[0])
    assert head["reward"]["parts"]["classifier"]["model"] == model
    assert "reward version 1 from step 1 on" in (folder / "report.html").read_text()
    shutil.rmtree(model)
    (folder / "report.json").unlink()
    assert process(["--resume", folder], stubs=False) == 2, "the reward of its last step is gone"
