"""When a requested change of the reward counts, and that the run's bits depend on that step alone."""

import json
from dataclasses import replace

import pytest
from ray.cluster_utils import Cluster

from cluster import driver
from cluster.plan import Plan
from cluster.pools.opening import open_pools
from cluster.preflight.data import plan_settings
from cluster.reward_schedule import OVERLAP, RewardRequest, RewardSchedule
from cluster.roles import worker_specs
from configs.errors import RunError
from configs.reward_change import RewardChange
from learner.adapter import tensors_sha256
from service.run.reward_changes import RunRewards, newest_refusal, read_changes, request_change, waiting
from tests.cluster.faults import FAULTY, lay, left
from tests.cluster.stubs import STUBS
from tests.conftest import small_config
from tests.workers.rewards import tiny_classifier
from workers.reward.versions import Trial

STEPS = 4
TIMED = ("time/", "retries/")


def run(folder, config, prompts, specs=STUBS, resumed=None):
    """The state after each step, and (hash of the last adapter, all metrics but times)."""
    said, states, metrics = [], [], []
    folder.mkdir(exist_ok=True)
    rewards = RunRewards(folder, config.reward, said.append)
    with open_pools(config, specs=specs) as pools:
        initial = driver.start(pools, resumed)
        for report in driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, initial, rewards):
            states.append(report.state)
            metrics.append({k: v for k, v in report.metrics.items() if not k.startswith(TIMED)})
    return states, (tensors_sha256(states[-1].policy.adapter), metrics)


def ask(folder, at_step, part="classifier", **settings):
    folder.mkdir(exist_ok=True)
    return request_change(folder, RewardChange(part, settings), at_step)


@pytest.mark.parametrize("run_ahead", [0, 1])
@pytest.mark.parametrize("at_step", [0, 2, STEPS - 1])
def test_a_change_counts_from_its_step_on(tmp_path, prompts, run_ahead, at_step):
    config = small_config(steps=STEPS, run_ahead=run_ahead)
    plain = run(tmp_path / "plain", config, prompts)[1]
    ask(tmp_path / "run", at_step, weight=3)
    states, (sha, metrics) = run(tmp_path / "run", config, prompts)
    assert [state.reward for state in states] == [int(step >= at_step) for step in range(STEPS)]
    assert metrics[:at_step] == plain[1][:at_step] and metrics[at_step] != plain[1][at_step] and sha != plain[0]
    [line] = read_changes(tmp_path / "run")
    assert (line["version"], line["step"], line["settings"]) == (1, at_step, {"weight": 3.0})
    assert waiting(tmp_path / "run") == []


@pytest.mark.parametrize("run_ahead", [0, 1])
def test_a_run_resumed_from_any_checkpoint_goes_through_the_same_versions(tmp_path, prompts, run_ahead):
    config = small_config(steps=STEPS, run_ahead=run_ahead)
    for at_step, weight in ((1, 3), (3, 0.5)):
        ask(tmp_path / "run", at_step, weight=weight)
    states, whole = run(tmp_path / "run", config, prompts)
    record = (tmp_path / "run/rewards.jsonl").read_bytes()
    for state in states[:-1]:
        _, (sha, metrics) = run(tmp_path / "run", config, prompts, resumed=state)
        assert (sha, metrics) == (whole[0], whole[1][state.version :]), state.version
        assert (tmp_path / "run/rewards.jsonl").read_bytes() == record


def test_a_step_that_is_repeated_takes_no_newer_change_before_its_own(tmp_path, prompts):
    """Else the order of the versions would not be that of their steps."""
    config = small_config(steps=STEPS)
    ask(tmp_path / "run", 2, weight=3)
    states, (_, whole) = run(tmp_path / "run", config, prompts)
    ask(tmp_path / "run", None, weight=5)
    ask(tmp_path / "run", 1, weight=7)
    _, (_, metrics) = run(tmp_path / "run", config, prompts, resumed=states[0])
    assert metrics[0] == whole[1]
    assert [(line["step"], line["settings"]["weight"]) for line in read_changes(tmp_path / "run")] == [(2, 3), (2, 5)]
    assert newest_refusal(tmp_path / "run") == ["at_step: step 1 has begun before; the next one is 2"]


def test_a_refused_change_leaves_the_run_as_it_is(tmp_path, prompts):
    config = small_config(steps=STEPS)
    _, expected = run(tmp_path / "plain", config, prompts)
    ask(tmp_path / "run", 0, weight=-1)
    ask(tmp_path / "run", 1, words=3)
    ask(tmp_path / "run", 1, part="other", weight=3)
    for name, text in {"1": "{", "2": "[]", "3": '{"part": "classifier"}'}.items():
        (tmp_path / f"run/reward/{name}.json").write_text(text)
    _, found = run(tmp_path / "run", config, prompts)
    assert found == expected and read_changes(tmp_path / "run") == [] and waiting(tmp_path / "run") == []
    refusals = [json.loads(file.read_bytes()) for file in sorted((tmp_path / "run/reward").glob("*.refused"))]
    assert len(refusals) == 6 and refusals[0] == ["weight: is not positive"]
    assert refusals[2] == ["reward.parts.other: the reward has no such part; it has classifier"]
    assert all("is no request" in problem for [problem] in refusals[3:])


def test_the_version_before_scores_too_in_the_first_steps(tmp_path, prompts):
    steps = 2 + OVERLAP + 1
    config = small_config(steps=steps)
    ask(tmp_path / "run", 2, weight=3)
    run(tmp_path / "run", config, prompts)
    versions = RunRewards(tmp_path / "run", config.reward, print)
    assert [versions.before(step) is not None for step in range(steps)] == [2 <= s < 2 + OVERLAP for s in range(steps)]
    assert versions.before(2).number == 0


def test_two_changes_at_one_step_are_compared_with_what_scored_before_it():
    schedule = RewardSchedule(small_config().reward)
    for step, weight in ((3, 2), (3, 4), (5, 8)):
        reward = RewardChange("classifier", {"weight": weight}).applied_to(schedule.versions[-1].reward)
        schedule.accept(RewardRequest("x", RewardChange("classifier", {})), step, Trial(reward))
    weights = [schedule.at(step).reward.parts["classifier"].weight for step in range(6)]
    assert weights == [1, 1, 1, 4, 4, 8]
    assert [one and one.number for one in map(schedule.before, range(6))] == [None, None, None, 0, 0, 2]


def test_a_checkpoint_and_the_record_of_changes_belong_together(tmp_path, prompts):
    config = small_config(steps=STEPS)
    ask(tmp_path / "run", 1, weight=3)
    states, _ = run(tmp_path / "run", config, prompts)
    RunRewards(tmp_path / "run", config.reward, print).check(states[1])
    with pytest.raises(RunError, match="step 1 was scored by version 0 of the reward, not 1; restore the file"):
        RunRewards(tmp_path / "run", config.reward, print).check(replace(states[1], reward=0))
    (tmp_path / "run/rewards.jsonl").write_text("{\n")
    with pytest.raises(RunError, match=r"rewards.jsonl is damaged"):
        RunRewards(tmp_path / "run", config.reward, print)


def test_a_new_model_is_brought_to_the_scale_and_gives_the_same_bits_when_resumed(tmp_path, prompts):
    config = small_config(steps=3)
    model = tiny_classifier(tmp_path / "model", num_labels=1)
    ask(tmp_path / "run", 1, model=model, label=None, probe=None, toxicity=False)
    states, whole = run(tmp_path / "run", config, prompts, worker_specs)
    [line] = read_changes(tmp_path / "run")
    anchors, standardise = line["anchors"], line["settings"]["standardise"]
    assert anchors["texts"] == 2 * 64
    assert standardise["std"] == pytest.approx(anchors["new_std"] / anchors["old_std"])
    assert standardise["mean"] == pytest.approx(anchors["new_mean"] - anchors["old_mean"] * standardise["std"])
    first, *later = whole[1]
    assert "reward/old_total" not in first and all(abs(step["reward/old_total"]) < 20 for step in later)
    scaled = [(step["score/classifier"] - standardise["mean"]) / standardise["std"] for step in later]
    assert [step["reward/new_total"] for step in later] == pytest.approx(scaled, rel=1e-4)
    assert all(0 < step["watch/toxicity"] < 1 for step in whole[1]), "still measured, by the part of the start"
    for state in states[:2]:
        assert run(tmp_path / "run", config, prompts, worker_specs, state)[1] == (whole[0], whole[1][state.version :])


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_with_reward_workers_killed_around_the_change_the_bits_are_the_same(tmp_path, prompts):
    model = tiny_classifier(tmp_path / "model", num_labels=1)
    change = {"model": model, "label": None, "probe": None, "toxicity": False}
    ask(tmp_path / "inline", 1, **change)
    expected = run(tmp_path / "inline", small_config(steps=3), prompts, worker_specs)[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False})
    try:
        out = tmp_path / "ray"
        config = small_config(
            steps=3, workers__reward=2, cluster__backend="ray", cluster__address=cluster.address, out=out
        )
        ask(out, 1, **change)
        lay(out, "reward-1-1.late", "reward-2-0.kill")
        assert run(out, config, prompts, FAULTY)[1] == expected
        assert left(out) == []
    finally:
        cluster.shutdown()
