"""Timing: what is printed, lengths that are forced, and another command that runs in turn."""

import json
import sys

import psutil
import pytest

import ray_job
from configs.errors import RunError
from service.bench.compared_command import ComparedCommand
from service.bench.flops import StepFlops
from tests.conftest import small_arguments, small_config

COUNTING = """import json, time
for step in range(9):
    time.sleep(0.1)
    print(json.dumps({'step': step, 'total': 0.1}), flush=True)"""


def test_a_line_a_step_and_one_for_all(capsys):
    arguments = small_arguments(bench__steps=2, bench__min_new=5, bench__max_new=5)
    assert ray_job.main(["bench", *arguments]) == 0
    *steps, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in steps] == [1, 2]
    for line in steps:
        assert line["new_tokens"] == 8 * 5, "however the policy would have ended them"
        phases = sum(line[phase] for phase in ("generate", "score", "reference", "update"))
        rounded = line["total"] + 5 * 0.0005  # five numbers, each to a thousandth
        assert 0.8 * line["total"] < phases <= rounded, "inline, one thing is done after another"
    assert summary["steps"] == 2 and summary["peak_gb"]["all"] > 0.2 and summary["hand_over"] > 0
    assert 0 < summary["utilisation"] < 1


def test_another_command_is_paused_except_during_its_steps():
    other = ComparedCommand(f'{sys.executable} -c "{COUNTING}"')
    try:
        for _ in range(3):
            assert other.step(limit=60) > 0
            assert psutil.Process(other.process.pid).status() == psutil.STATUS_STOPPED
    finally:
        other.kill()


def test_it_is_timed_in_turn_and_the_ratio_printed(capsys):
    arguments = small_arguments(bench__steps=2, bench__vs=f'{sys.executable} -c "{COUNTING}"')
    assert ray_job.main(["bench", *arguments]) == 0
    out = capsys.readouterr().out
    assert "times as fast as:" in out and "in 2 pairs of steps" in out
    assert all("other" in json.loads(line) for line in out.splitlines()[:2])


@pytest.mark.slow
def test_one_that_cannot_be_run_or_ends_early_is_named(capsys):
    assert ray_job.main(["bench", *small_arguments(bench__vs="no/such/command --at all")]) == 2
    assert "bench.vs: 'no/such/command --at all' cannot be run" in capsys.readouterr().err
    assert ray_job.main(["bench", *small_arguments(bench__vs="an 'open quote")]) == 2
    assert "cannot be run: No closing quotation" in capsys.readouterr().err
    arguments = small_arguments(bench__vs=f'{sys.executable} -c "raise SystemExit(3)"')
    assert ray_job.main(["bench", *arguments]) == 1
    assert "ended with code 3 before its steps were done" in capsys.readouterr().err


def test_one_that_takes_too_long_is_killed():
    with pytest.raises(RunError, match="ended with code -9"):
        ComparedCommand("sleep 1000").step(limit=0.1)


def test_operations_are_those_of_every_pass():
    flops = StepFlops(small_config(algorithm__ppo_epochs=1))
    [(reward, reads_prompt)] = flops.rewards
    once = flops.encoder * 100 + flops.decoder * 10
    # Rollout, reference, and an update's forward and backward; the decoder's teacher-forced pass; the reward.
    assert flops.operations(100, 10) == 2 * (4 * once + flops.decoder * 10 + reward * 10) and not reads_prompt
