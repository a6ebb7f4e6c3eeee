"""A run gives the same bits on every backend: inline, or on Ray with any number of workers."""

import math
import os
import random

import pytest
from ray.cluster_utils import Cluster
from transformers import AutoTokenizer

from cluster import driver
from cluster.plan import Plan
from cluster.pools.opening import open_pools
from cluster.preflight.data import plan_settings
from cluster.ray_cluster import prepare_token
from configs.errors import RunError, UsageError
from learner.adapter import tensors_sha256
from tests.conftest import small_config
from tests.families import FAMILIES, WORDS
from workers.data.prompts import Prompt

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def address():
    """One cluster for all runs of this file, which join it by its address."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def train(config, prompts):
    """Hash of the adapter after the last step, and all metrics but times."""
    with open_pools(config) as pools:
        initial, metrics = driver.start(pools), []
        for report in driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, initial):
            metrics.append({k: v for k, v in report.metrics.items() if not k.startswith(("time/", "retries/"))})
    return tensors_sha256(report.state.policy.adapter), metrics


@pytest.fixture(scope="module")
def inline(prompts):
    return train(small_config(), prompts)


AHEAD = {"run_ahead": 1, "steps": 3, "algorithm__microbatch_size": 1, "algorithm__learning_rate": 0.01}


@pytest.fixture(scope="module")
def ahead(prompts):
    return train(small_config(**AHEAD), prompts)


@pytest.mark.parametrize("workers", [1, 3])
def test_ray_gives_the_same_bits_as_inline_with_any_number_of_workers(address, inline, prompts, workers):
    config = small_config(
        cluster__backend="ray", cluster__address=address, workers__rollout=workers, workers__reward=workers
    )
    assert train(config, prompts) == inline


@pytest.mark.parametrize("learners", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_several_learners_and_run_ahead_give_the_same_bits_as_inline(address, ahead, prompts, learners):
    """Two learners share the microbatches while the next step's rollouts are made."""
    config = small_config(**AHEAD, cluster__backend="ray", cluster__address=address, workers__learner=learners)
    assert train(config, prompts) == ahead


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["NLLB", *(pytest.param(each, marks=pytest.mark.chaos) for each in ("BART", "T5Gemma"))]
)
def test_other_families_give_the_same_bits_as_inline_too(address, tmp_path, name):
    """Each as a rollout worker, its reference and the learner, after two updates."""
    [family] = [family for family in FAMILIES if family.name == name]
    settings = {"policy__model": family.save(tmp_path / "model"), "steps": 3, "algorithm__learning_rate": 0.01}
    tokenizer = AutoTokenizer.from_pretrained(settings["policy__model"])
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(40)]
    prompts = [Prompt(text, tuple(tokenizer(text)["input_ids"]), ("",), text) for text in texts]
    on_ray = {"cluster__backend": "ray", "cluster__address": address, "workers__rollout": 2}
    adapter, metrics = train(small_config(**settings), prompts)
    assert train(small_config(**settings, **on_ray), prompts) == (adapter, metrics)
    assert metrics[-1]["objective/kl_k3"] > 0


def test_run_ahead_samples_from_the_previous_policy(ahead, prompts):
    adapter, metrics = ahead
    assert [step["rollout/staleness"] for step in metrics] == [0, 1, 1]
    assert metrics[1]["policy/first_ratio_gap"] > 1e-3 > metrics[0]["policy/first_ratio_gap"]
    assert train(small_config(**{**AHEAD, "run_ahead": 0}), prompts)[0] != adapter


def test_an_error_in_a_worker_ends_the_run_with_its_cause(address, prompts):
    config = small_config(cluster__backend="ray", cluster__address=address)
    with open_pools(config) as pools, pytest.raises(RunError, match=r"failed on nothing: AttributeError: 'str' object"):
        pools.get([pools.reward.submit("score", "no rollouts", about="nothing")])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cluster__resources__reward__gpus": 0.5}, "1 GPU (rollout 2 x 0, reward 2 x 0.5, reference 1 x 0"),
        ({"cluster__resources__rollout__cpus": 64}, "--cluster.resources.rollout.cpus auto"),
        (
            {"cluster__resources__reward__cpus": 0.5, "workers__reward": 9},
            "fit: --workers.rollout 2 --workers.reward 3",
        ),
    ],
)
def test_workers_that_do_not_fit_are_refused_at_once_with_settings_that_fit(address, settings, expected):
    config = small_config(cluster__backend="ray", cluster__address=address, **settings)
    with pytest.raises(UsageError) as caught, open_pools(config):
        pass
    assert expected in str(caught.value) and "the cluster has 2 CPU, 0 GPU" in str(caught.value)


def test_a_missed_start_timeout_ends_the_run(address):
    config = small_config(cluster__backend="ray", cluster__address=address, cluster__start_timeout=0.01)
    with pytest.raises(RunError, match=r"within 0\.01 s \(cluster\.start_timeout\)"), open_pools(config) as pools:
        driver.start(pools)


def without_ray_settings(monkeypatch, home):
    monkeypatch.setenv("HOME", str(home))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it even where the test sets it
        monkeypatch.delenv(name)


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_token_of_a_local_cluster_is_private_to_its_owner(tmp_path, monkeypatch, before):
    """Ray itself writes it to the home directory, readable by everyone, where the next `ray start` finds it."""
    without_ray_settings(monkeypatch, tmp_path)
    file = tmp_path / ".ray/auth_token"
    if before:
        file.parent.mkdir()
        file.write_text("from an earlier day")
        file.chmod(before)
    prepare_token("local")
    if before:
        assert file.stat().st_mode & 0o777 == 0o600 and file.read_text() == "from an earlier day"
        assert "RAY_AUTH_TOKEN" not in os.environ
    else:
        assert not list(tmp_path.iterdir()) and len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_joining_a_cluster_creates_no_token(tmp_path, monkeypatch):
    without_ray_settings(monkeypatch, tmp_path)
    prepare_token("127.0.0.1:6379")
    assert "RAY_AUTH_TOKEN" not in os.environ and not list(tmp_path.iterdir())


def test_a_reversed_reward_is_refused(prompts):
    """Bug 1: the reward was the logit of hate. The probe's sentences are then ranked the wrong way round."""
    with (
        open_pools(small_config(reward__parts__classifier__label="hate")) as pools,
        pytest.raises(
            UsageError,
            match=r"label_is: reward.parts.classifier.probe.better .* is bad with probability 0\.9",
        ),
    ):
        driver.start(pools)


@pytest.mark.parametrize(
    ("step", "metrics", "message"),
    [
        (0, {"objective/kl_k3": 0.5, "rollout/logprob_gap": 0.0}, "differs from its reference"),
        (0, {"objective/kl_k3": math.nan, "rollout/logprob_gap": 0.0}, "differs from its reference"),
        (
            0,
            {"objective/kl_k3": 0.0, "policy/first_ratio_gap": 0.2, "rollout/logprob_gap": 0.0},
            "ratios differ from 1 by 0.2",
        ),
        (3, {"objective/kl_k3": 0.5, "rollout/logprob_gap": 0.7}, "were not sampled from the policy"),
        (3, {"objective/kl_k3": 0.5, "rollout/logprob_gap": math.nan}, "were not sampled from the policy"),
    ],
)
def test_a_violated_invariant_ends_the_run(step, metrics, message):
    with pytest.raises(RunError, match=message):
        driver.check(step, metrics, driver.BOUNDS["bfloat16"])
