"""A run whose process was killed, at any step or file operation, ends with the same result."""

import json
import multiprocessing
import os
import shutil
import signal
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import ray_job
from configs.errors import RunError
from configs.installation import COMMAND
from service.run import startup
from service.run.folder import RunFolder
from tests.cluster.stubs import STUBS
from tests.conftest import small_arguments
from tests.operations import Operations, watched

STEPS = 3
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["service.commands.train", "service.report.report", "tests.cluster.stubs", "profanity_check"]
)


def run(arguments, stubs: bool, act: str = "", at: int = -1, step: int = -1, log: str = "", start: str = "") -> None:
    """Run in this process, which kills itself before file operation `at`, or when `step` was written.

    With `start`, its workers hang or fail to start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if log:
        os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY), 2)
    if stubs:
        startup.open_pools = partial(startup.open_pools, specs=STUBS)
    if start:
        startup.open_pools = partial(broken_pools, start)
    add = RunFolder.add

    def add_and_die(folder, report):
        add(folder, report)
        if report.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    RunFolder.add = add_and_die
    with watched(Operations(act, at)) as operations:
        code = ray_job.main(arguments)
    if act == "count":
        (Path(arguments[-1]) / "count").write_text(str(operations.count))
    os._exit(code)


@contextmanager
def broken_pools(how: str, config, supervisor):
    """Pools that never open."""
    if how == "fail":
        raise RunError("no worker could be started")
    (Path(config.out) / "hanging").touch()
    while True:
        signal.pause()
    yield


def process(arguments, **options) -> int:
    """Exit code of a run in a process of its own."""
    child = PROCESSES.Process(target=run, args=([str(a) for a in arguments],), kwargs=options)
    child.start()
    child.join()
    return child.exitcode


def outcome(folder: Path) -> tuple[str, list[dict]]:
    """What must be the same: the adapter's hash, and the steps without their times and retries."""
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in step.items() if not k.startswith(("time/", "retries/"))} for step in steps]
    return json.loads((folder / "report.json").read_text())["adapter_sha256"], kept


def whole(tmp_path_factory, stubs: bool) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=stubs, act="count") == 0
    return folder


@pytest.fixture(scope="module")
def stubbed(tmp_path_factory):
    return whole(tmp_path_factory, stubs=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return whole(tmp_path_factory, stubs=False)


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_after_any_step_and_resumed_gives_the_same(real, tmp_path, step):
    assert process([*small_arguments(steps=STEPS), "--out", tmp_path / "run"], stubs=False, step=step) == -9
    assert not (tmp_path / "run/report.json").exists()
    assert process(["--resume", tmp_path / "run"], stubs=False) == 0
    assert outcome(tmp_path / "run") == outcome(real)


@pytest.mark.parametrize(
    "stride",
    [pytest.param(83, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.chaos)],
    ids=["every 83rd", "every operation"],
)
def test_killed_at_any_file_operation_and_resumed_gives_the_same(stubbed, tmp_path, stride):
    total, folder, resumed = int((stubbed / "count").read_text()), tmp_path / "run", 0
    assert total > 100
    for at in range(0, total, stride):
        shutil.rmtree(folder, ignore_errors=True)
        code = process([*small_arguments(steps=STEPS), "--out", folder], stubs=True, act="kill", at=at)
        assert code == -9, at
        if (folder / "config.yaml").exists():
            assert process(["--resume", folder], stubs=True) == 0, at
            resumed += 1
        else:  # nothing was begun: the same command works again
            shutil.rmtree(folder, ignore_errors=True)
            assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=True) == 0, at
        assert outcome(folder) == outcome(stubbed), at
    assert resumed >= 0.7 * len(range(0, total, stride))


@pytest.mark.slow
def test_a_run_that_samples_ahead_resumes_with_the_policy_it_would_have_sampled_from(tmp_path):
    arguments = small_arguments(steps=STEPS, run_ahead=1)
    assert process([*arguments, "--out", tmp_path / "whole"], stubs=False) == 0
    assert process([*arguments, "--out", tmp_path / "run"], stubs=False, step=1) == -9
    assert process(["--resume", tmp_path / "run"], stubs=False) == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_killed_again_while_it_resumes(stubbed, tmp_path):
    folder = tmp_path / "run"
    assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=True, step=0) == -9
    assert process(["--resume", folder], stubs=True, act="kill", at=12) == -9
    assert process(["--resume", folder], stubs=True, step=1) == -9
    assert process(["--resume", folder], stubs=True) == 0
    assert outcome(folder) == outcome(stubbed)


@pytest.mark.slow
def test_fewer_checkpoints_cost_steps_and_no_bits(stubbed, tmp_path):
    folder = tmp_path / "run"
    arguments = [*small_arguments(steps=STEPS, checkpoints__every=2), "--out", folder]
    assert process(arguments, stubs=True, step=2) == -9
    shutil.rmtree(folder / "checkpoints/step-000003")
    assert process(["--resume", folder], stubs=True) == 0
    assert outcome(folder) == outcome(stubbed)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(stubbed, tmp_path):
    folder = tmp_path / "run"
    assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=True, step=1) == -9
    newest = folder / "checkpoints/step-000002/state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert process(["--resume", folder], stubs=True, log=str(tmp_path / "log")) == 0
    assert "step-000002 is damaged" in (tmp_path / "log").read_text()
    assert outcome(folder) == outcome(stubbed)


def test_a_full_disk_does_not_end_the_run_while_steps_can_be_written(stubbed, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/.step-000002.writing").write_text("in the way, so that no folder can be made")
    (folder / "config.yaml").write_text((stubbed / "config.yaml").read_text())
    assert process(["--resume", folder], stubs=True, log=str(tmp_path / "log")) == 0
    assert "step 2 could not be saved" in (tmp_path / "log").read_text()
    assert outcome(folder) == outcome(stubbed)


@pytest.fixture(scope="module")
def ended_early(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "run"
    assert process([*small_arguments(steps=STEPS), "--out", folder], stubs=True, step=0) == -9
    return folder


@pytest.fixture
def begun(ended_early, tmp_path):
    """A run that ended early."""
    return Path(shutil.copytree(ended_early, tmp_path / "run"))


@pytest.mark.slow
def test_another_shape_of_adapter_is_refused_before_anything_is_written(tmp_path, capsys):
    """It spoiled what was trained: the old tensors beside the new shape."""
    folder = tmp_path / "real"
    assert ray_job.main([*small_arguments(steps=1), f"--out={folder}"]) == 0
    (folder / "report.json").unlink()
    traces = {"status.json", "workers.json", "log.txt", "lock"}
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in traces}
    changed = ["--resume", str(folder), "--policy.lora.target_modules=q", "--resume_changed=true"]
    capsys.readouterr()
    for command in ([], ["doctor"]):
        assert ray_job.main([*command, *changed]) == 2
        assert (
            "policy.lora, policy.adapter: the adapter's shape differs from the one that this run started with"
            in capsys.readouterr().err
        )
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in traces}
    assert after == before


@pytest.mark.slow
def test_a_complete_run_is_evaluated_on_more_held_out_rows(tmp_path):
    folder = tmp_path / "real"
    assert ray_job.main([*small_arguments(steps=1), f"--out={folder}"]) == 0
    assert ray_job.main(["--resume", str(folder), "--evaluation.rows=9", "--resume_changed=true"]) == 0
    assert json.loads((folder / "report.json").read_text())["evaluation"]["rows"] == 9


CASES = {
    "a setting that changes the result": (["--seed", "4"], "seed: the run was started with 0, not 4"),
    "two of them": (["--seed", "4", "--algorithm.kl.coef", "0.5"], "algorithm.kl.coef: the run was started with 0.2"),
    "more steps": (["--steps", "5"], "steps: the run was started with 3, not 5"),
    "threads": (["--cluster.resources.learner.threads", "2"], "cluster.resources.learner.threads"),
    "another folder": (["--out", "elsewhere"], "out: a resumed run stays in its folder"),
    "another config": (["--config", "quickstart_grpo"], "algorithm.type: the run was started with 'ppo', not 'grpo'"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_changed_config_is_refused_by_naming_what_differs(begun, capsys, case):
    arguments, expected = CASES[case]
    assert ray_job.main(["--resume", str(begun), *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error


def test_a_changed_config_is_taken_when_told_so(begun):
    assert process(["--resume", begun, "--steps", "5", "--resume_changed", "true"], stubs=True) == 0
    assert len(outcome(begun)[1]) == 5
    assert "steps: 5" in (begun / "config.yaml").read_text()


def test_where_it_runs_may_change(begun, stubbed):
    assert process(["--resume", begun, "--workers.reward", "5", "--cluster.call_timeout", "9"], stubs=True) == 0
    assert outcome(begun) == outcome(stubbed)


@pytest.mark.slow
def test_other_dialogues_are_refused_unless_a_setting_asks_for_them(tmp_path):
    """`--evaluation.rows N --resume_changed true` was answered by: data.path: not the dialogues. Nor is that said of
    data that a setting changed."""
    data, folder, log = tmp_path / "data", tmp_path / "run", str(tmp_path / "log")
    shutil.copytree("quickstart/dialogues", data)
    assert process([*small_arguments(data__path=data), "--out", folder], stubs=True, step=0) == -9
    for split, what in [("train", "training dialogues (split train)"), ("test", "held-out dialogues (split test)")]:
        file = data / f"{split}.csv"
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b"#Person1#: ", b"#Person1#: Well. "))
        assert process(["--resume", folder], stubs=True, log=log) == 2
        assert f"data.path: the {what} are not the ones" in (tmp_path / "log").read_text()
        file.write_bytes(whole)
    changed = ["--evaluation.rows", "4", "--data.max_chars", "400", "--resume_changed", "true"]
    assert process(["--resume", folder, *changed], stubs=True, step=1, log=log) == -9
    told = Path(log).read_text()
    assert "the training dialogues differ from here on because of changed settings: data.max_chars" in told
    assert process(["--resume", folder], stubs=True) == 0, "from now on these are the run's own"
    assert json.loads((folder / "report.json").read_text())["evaluation"]["rows"] == 4


@pytest.mark.slow
def test_a_run_that_was_stopped_while_it_started_is_resumed(stubbed, tmp_path):
    """It could be neither resumed nor started again: its folder was neither a run's nor empty."""
    folder, words = tmp_path / "run", [*small_arguments(steps=STEPS), "--out", str(tmp_path / "run")]
    child = PROCESSES.Process(target=run, args=(words,), kwargs={"stubs": True, "start": "hang"})
    child.start()
    while not (folder / "hanging").exists():
        assert child.is_alive()
        child.join(0.05)
    os.kill(child.pid, signal.SIGINT)
    child.join()
    assert child.exitcode == 1
    log = (folder / "log.txt").read_text()
    assert log.endswith(f"error: interrupted\nprogress is saved; resume with: {COMMAND} --resume {folder}\n")
    assert process(["--resume", folder], stubs=True) == 0
    assert outcome(folder) == outcome(stubbed)


@pytest.mark.slow
def test_a_run_that_failed_while_it_started_is_resumed_or_started_again(stubbed, tmp_path):
    folder, words = tmp_path / "run", [*small_arguments(steps=STEPS), "--out", str(tmp_path / "run")]
    assert process(words, stubs=True, start="fail") == 1
    assert "error: no worker could be started" in (folder / "log.txt").read_text()
    assert process(["--resume", folder], stubs=True) == 0
    assert outcome(folder) == outcome(stubbed)
    shutil.rmtree(folder)
    assert process(words, stubs=True, start="fail") == 1
    assert process(words, stubs=True) == 0, "its folder has nothing but traces of the start"
    assert outcome(folder) == outcome(stubbed)


def test_a_folder_that_is_not_a_run_is_refused(tmp_path, capsys):
    assert ray_job.main(["--resume", str(tmp_path)]) == 2
    assert "is not a run folder: it has no config.yaml" in capsys.readouterr().err


def test_a_complete_run_is_left_alone(stubbed, tmp_path):
    before = (stubbed / "report.json").stat().st_mtime_ns
    assert process(["--resume", stubbed], stubs=True, log=str(tmp_path / "log")) == 0
    assert "is complete" in (tmp_path / "log").read_text()
    assert (stubbed / "report.json").stat().st_mtime_ns == before


def test_two_processes_never_work_on_one_run(begun, capsys):
    (begun / "status.json").write_text("what the other one is doing")
    with (begun / "lock").open("a") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ray_job.main(["--resume", str(begun)]) == 2
    assert (begun / "status.json").read_text() == "what the other one is doing"
    assert "is using this folder" in capsys.readouterr().err
