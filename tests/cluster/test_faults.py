"""Whatever is killed, hung or lost, a run ends with the same bits, or fails in bounded time with the reason."""

import itertools
import random
import threading
import time

import psutil
import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from cluster import driver
from cluster.layout import ROLES
from cluster.plan import Plan
from cluster.pools.calls import ray_object
from cluster.pools.interface import Supervisor
from cluster.pools.opening import open_pools
from cluster.preflight.data import plan_settings
from cluster.roles import worker_specs
from configs.errors import RunError
from learner.adapter import tensors_sha256
from tests.cluster.faults import FAULTY, FAULTY_STUBS, lay, left
from tests.cluster.stubs import STUBS, Reward, Rollout
from tests.conftest import small_config

pytestmark = pytest.mark.ray

STEPS, UNITS = 3, 2
PLACES = [(role, step, unit) for step in range(STEPS) for unit in range(UNITS) for role in ("rollout", "reward",
          "reference")] + [("learner", step, 0) for step in range(STEPS)]  # fmt: skip


class Notes(Supervisor):
    """Records a run's messages and pool sizes."""

    def __init__(self):
        self.messages, self.sizes = [], {}

    def say(self, text):
        self.messages.append(text)

    def show(self, sizes):
        self.sizes = sizes


def same_everywhere(metrics):
    return {k: v for k, v in metrics.items() if not k.startswith(("time/", "retries/"))}


def train(config, prompts, classes, notes=None, after_step=lambda step: None):
    """(hash of the last adapter, all metrics but times and retries), and the number of workers lost."""
    with open_pools(config, notes or Notes(), classes) as pools:
        initial, metrics = driver.start(pools), []
        for report in driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, initial):
            metrics.append(same_everywhere(report.metrics))
            after_step(report.step)
        return (tensors_sha256(report.state.policy.adapter), metrics), sum(pools.retries.values())


@pytest.fixture(scope="module")
def address():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def setting(address, tmp_path):
    return small_config(steps=STEPS, cluster__backend="ray", cluster__address=address, out=tmp_path)


@pytest.fixture(scope="module")
def undisturbed(prompts, tmp_path_factory):
    config = small_config(steps=STEPS, out=tmp_path_factory.mktemp("inline"))
    return train(config, prompts, STUBS)[0]


@pytest.mark.slow
def test_killing_a_worker_at_every_step_and_unit_changes_no_bit(setting, prompts, undisturbed, tmp_path):
    """Before its work, or after the work but before the answer."""
    kinds = itertools.cycle(["kill", "late"])
    lay(tmp_path, *(f"{role}-{step}-{unit}.{next(kinds)}" for role, step, unit in PLACES))
    result, lost = train(setting, prompts, FAULTY_STUBS)
    assert left(tmp_path) == [] and lost == len(PLACES)
    assert result == undisturbed


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["kill", "late", "stop"])
def test_killing_or_hanging_real_workers_at_every_step_and_unit_changes_no_bit(address, prompts, tmp_path, kind):
    """The same with the shipped models, which take seconds to reload each time."""
    settings = {"steps": STEPS, "out": tmp_path, "cluster__call_timeout": 10, "cluster__update_timeout": 10}
    expected, _ = train(small_config(**settings), prompts, worker_specs)
    lay(tmp_path, *(f"{role}-{step}-{unit}.{kind}" for role, step, unit in PLACES))
    config = small_config(**settings, cluster__backend="ray", cluster__address=address)
    result, lost = train(config, prompts, FAULTY)
    assert left(tmp_path) == [] and lost == len(PLACES)
    assert result == expected


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["kill", "late"])
def test_killing_one_of_several_learners_during_an_update_changes_no_bit(address, prompts, tmp_path, kind):
    settings = {"steps": STEPS, "out": tmp_path, "algorithm__microbatch_size": 1, "run_ahead": 1}
    expected, _ = train(small_config(**settings), prompts, worker_specs)
    lay(tmp_path, f"learner-0-1.{kind}", f"learner-1-1.{kind}", f"rollout-2-0.{kind}")
    config = small_config(**settings, cluster__backend="ray", cluster__address=address, workers__learner=2)
    result, lost = train(config, prompts, FAULTY)
    assert left(tmp_path) == [] and lost == 3
    assert result == expected


@pytest.mark.chaos
def test_hung_workers_are_replaced_after_their_deadline(address, prompts, undisturbed, tmp_path):
    config = small_config(steps=STEPS, cluster__backend="ray", cluster__address=address, out=tmp_path,
                          cluster__call_timeout=3, cluster__update_timeout=3)  # fmt: skip
    lay(tmp_path, *(f"{role}-1-0.stop" for role in ROLES))
    notes = Notes()
    result, lost = train(config, prompts, FAULTY_STUBS, notes)
    assert result == undisturbed and lost == 4 and left(tmp_path) == []
    for role in ROLES:
        assert any(text.startswith(role) and "did not answer within 3 s" in text for text in notes.messages)


@pytest.mark.parametrize("role", ["reward", *(pytest.param(r, marks=pytest.mark.chaos) for r in ROLES)])
def test_a_unit_that_always_kills_its_worker_ends_the_run_with_an_error_that_names_it(setting, prompts, tmp_path, role):
    lay(tmp_path, f"{role}-1-0.always")
    expected = "step 1: 4 learner" if role == "learner" else rf"unit 0 of step 1 \(rows [\d, ]+\): 4 {role}"
    with pytest.raises(RunError, match=expected + r" workers were lost while working on it \(cluster\.attempts\)"):
        train(setting, prompts, FAULTY_STUBS)


@pytest.mark.chaos
def test_a_score_that_is_nan_ends_the_run_with_an_error_that_names_its_unit(setting, prompts, tmp_path):
    """On Ray too: a call that would fail again is not repeated."""
    lay(tmp_path, "reward-1-1.nan")

    def specs(config, layout):
        return worker_specs(config, layout) | {"reward": FAULTY(config, layout)["reward"]}

    with pytest.raises(RunError, match=r"step 1.*ValueError: unit 1 of step 1: a score is not finite"):
        train(setting, prompts, specs)


@pytest.mark.chaos
def test_workers_killed_while_idle_do_not_count_as_attempts_of_the_next_call(address, prompts):
    """A call counts only workers that had received it, however many others turn out to be dead."""
    config = small_config(cluster__backend="ray", cluster__address=address, cluster__attempts=2, workers__rollout=4)
    notes = Notes()
    with open_pools(config, notes, STUBS) as pools:
        initial = driver.start(pools)
        give_up = time.monotonic() + 60
        while notes.sizes["rollout"].ready < 4:
            assert time.monotonic() < give_up, (notes.sizes, notes.messages)
            pools.get([pools.learner.submit("describe", about="the model")])
        for process in workers():
            process.kill()
        reports = list(driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, initial))
    assert len(reports) == 2 and pools.retries["rollout"] >= 4


def workers() -> list[psutil.Process]:
    """Worker processes of clusters started by this process, not by other tests."""
    return [p for p in psutil.Process().children(recursive=True) if is_worker(p)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("ray::WorkerActor")
    except psutil.NoSuchProcess:
        return False


def killing(count: int, seed: int, done: threading.Event, killed: list[int]) -> None:
    """Kill `count` random workers at random moments."""
    rng = random.Random(seed)
    while len(killed) < count and not done.wait(rng.uniform(0.05, 0.6)):
        if running := [process for process in workers() if process.pid not in killed]:
            victim = rng.choice(running)
            victim.kill()
            killed.append(victim.pid)


@pytest.mark.parametrize(
    ("kills", "steps"),
    [pytest.param(20, 30, marks=pytest.mark.chaos), pytest.param(200, 400, marks=pytest.mark.chaos)],
    ids=["20 kills", "200 kills"],
)
def test_random_kills_change_no_bit(address, prompts, tmp_path, kills, steps):
    """A unit lost or applied twice would change every weight after it (stubs.Learner)."""
    settings = {"steps": steps, "out": tmp_path, "cluster__attempts": 20}
    expected, _ = train(small_config(**settings), prompts, STUBS)
    config = small_config(**settings, cluster__backend="ray", cluster__address=address)
    done, killed = threading.Event(), []
    killer = threading.Thread(target=killing, args=(kills, 7, done, killed))
    killer.start()
    # The last step waits until all kills are done.
    result, _ = train(config, prompts, STUBS, after_step=lambda step: step == steps - 2 and killer.join())
    done.set()
    killer.join()
    assert result == expected
    assert len(killed) == kills


def lose_node_of(worker, out, cluster, nodes):
    """Remove the node on which `worker` waits, as a power cut would, then let its replacement continue."""
    here = out / "faults" / f"{worker}.here"
    while not here.exists():
        time.sleep(0.01)  # a file of another process: there is no event to wait for
    cluster.remove_node(nodes[here.read_text()], allow_graceful=False)
    here.with_suffix(".wait").unlink()


@pytest.fixture
def nodes():
    """A cluster of a head without CPUs and two nodes for workers, by id; it notices a lost node within a second."""
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = {node.node_id: node for node in [cluster.add_node(num_cpus=4) for _ in range(2)]}
    cluster.wait_for_nodes()
    yield cluster, nodes
    cluster.shutdown()


def on(cluster, out):
    """A config for that cluster, with workers small enough for all to fit on one node."""
    small = {f"cluster__resources__{role}__cpus": 0.5 for role in ROLES}
    return small_config(steps=STEPS, cluster__backend="ray", cluster__address=cluster.address, out=out, **small)


@pytest.mark.chaos
def test_losing_a_node_during_a_call_changes_no_bit(nodes, prompts, undisturbed, tmp_path):
    lay(tmp_path, "rollout-1-0.wait")
    killer = threading.Thread(target=lose_node_of, args=("rollout-1-0", tmp_path, *nodes), daemon=True)
    killer.start()
    notes = Notes()
    result, lost = train(on(nodes[0], tmp_path), prompts, FAULTY_STUBS, notes)
    killer.join()
    assert result == undisturbed
    assert lost >= 1 and any("its node died" in text for text in notes.messages), notes.messages


@pytest.mark.slow
def test_results_that_are_lost_with_their_node_are_recomputed(nodes, prompts, tmp_path):
    (cluster, machines), config, notes = nodes, on(nodes[0], tmp_path), Notes()
    unit = Plan(plan_settings(config), prompts, prompts).units(1)[0]
    with open_pools(config, notes, STUBS) as pools:
        initial = driver.start(pools)
        rollouts = pools.rollout.submit("summarize", unit, pools.put(initial.state.policy), about=unit.name)
        while not rollouts.available:
            pools.get([pools.learner.submit("describe", about="the model")])
        (only_node,) = ray.experimental.get_object_locations([ray_object(rollouts)])[ray_object(rollouts)]["node_ids"]
        cluster.remove_node(machines[only_node], allow_graceful=False)
        (scores,) = pools.get([pools.reward.submit("score", rollouts, about=unit.name)])
    assert any(text.startswith("the rollout results of unit 0 of step 1 ") for text in notes.messages), notes.messages
    assert torch.equal(
        scores.scores, Reward(config).score(Rollout(config).summarize(unit, initial.state.policy)).scores
    )
