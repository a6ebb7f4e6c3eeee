"""The same bits wherever a run runs: inline, on Ray, with any number of workers, with a worker killed."""

import math

import psutil
import pytest
from ray.cluster_utils import Cluster

from cluster import driver
from cluster.plan import Plan
from cluster.pools import Pools, open_pools
from configs.errors import RunError
from learner.adapter import tensors_sha256
from tests.conftest import small_config


@pytest.fixture(scope="module")
def address():
    """One cluster for all runs of this file; each joins it as it would a running head."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def train(config, prompts, after_step=lambda pools: None):
    """Hash of the adapter after the last step, and all metrics but times."""
    with open_pools(config) as pools:
        begin, metrics = driver.start(pools), []
        for report in driver.train(config, Plan(config, prompts, prompts), pools, begin):
            metrics.append({k: v for k, v in report.metrics.items() if not k.startswith(("time/", "retries/"))})
            after_step(pools)
    return tensors_sha256(report.state.policy.adapter), metrics


@pytest.fixture(scope="module")
def inline(prompts):
    return train(small_config(), prompts)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_inline_and_ray_give_same_bits_with_any_number_of_workers(address, inline, prompts, workers):
    config = small_config(
        cluster__backend="ray", cluster__address=address, workers__rollout=workers, workers__reward=workers
    )
    assert train(config, prompts) == inline


def test_killed_workers_change_nothing(address, inline, prompts):
    def kill(_: Pools) -> None:
        for process in psutil.process_iter():
            if process.name().startswith("ray::Host"):
                process.kill()
                killed.append(process.pid)

    killed: list[int] = []
    config = small_config(cluster__backend="ray", cluster__address=address)
    assert train(config, prompts, after_step=kill) == inline
    assert len(killed) == 12, "six workers, once after each of two steps"


def test_a_worker_that_fails_is_named_with_its_reason(address, prompts):
    config = small_config(cluster__backend="ray", cluster__address=address)
    with open_pools(config) as pools, pytest.raises(RunError, match=r"a worker failed: AttributeError: 'str' object"):
        pools.get([pools.reward.submit("score", "no rollouts")])


def test_a_run_that_asks_for_more_than_there_is_says_so_at_once(address):
    config = small_config(cluster__backend="ray", cluster__address=address, cluster__resources__reward__gpus=0.5)
    with (
        pytest.raises(
            RunError, match=r"1 GPU \(rollout 0, reward 1, .*the cluster has 0.*cluster\.resources\.\*\.gpus"
        ),
        open_pools(config),
    ):
        pass


def test_a_deadline_that_passes_ends_the_run(address):
    config = small_config(cluster__backend="ray", cluster__address=address, cluster__start_timeout=0.01)
    with pytest.raises(RunError, match=r"within 0\.01 s \(cluster\.start_timeout\)"), open_pools(config):
        pass


def test_a_reversed_reward_is_refused(prompts):
    """Bug 1: hateful text earned its own logit. The probe's two sentences are in the wrong order then."""
    with (
        open_pools(small_config(reward__label="hate")) as pools,
        pytest.raises(RunError, match="prefers the worse probe"),
    ):
        driver.start(pools)


@pytest.mark.parametrize(
    ("step", "metrics", "message"),
    [
        (0, {"objective/kl_k3": 0.5, "rollout/logprob_gap": 0.0}, "differs from its reference"),
        (0, {"objective/kl_k3": math.nan, "rollout/logprob_gap": 0.0}, "differs from its reference"),
        (
            0,
            {"objective/kl_k3": 0.0, "ppo/policy/first_ratio_gap": 0.2, "rollout/logprob_gap": 0.0},
            "ratios 0.2 from 1",
        ),
        (3, {"objective/kl_k3": 0.5, "rollout/logprob_gap": 0.7}, "do not come from the learner's policy"),
        (3, {"objective/kl_k3": 0.5, "rollout/logprob_gap": math.nan}, "do not come from the learner's policy"),
    ],
)
def test_what_cannot_be_true_ends_the_run(step, metrics, message):
    with pytest.raises(RunError, match=message):
        driver.check(step, metrics)
