"""The number of workers follows requests and load during a run, without changing any bit."""

import fcntl
import threading
import time

import psutil
import pytest
import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address
from ray.cluster_utils import Cluster

import ray_job
from cluster import driver
from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from cluster.plan import Plan
from cluster.pools.interface import PoolSize
from cluster.pools.opening import open_pools
from cluster.pools.worker_group import Worker, WorkerGroup
from cluster.preflight.data import plan_settings
from learner.adapter import tensors_sha256
from service.run.folder import write_config
from service.run.lock import lock_folder
from service.run.supervisor import RunSupervisor
from tests.cluster.faults import FAULTY_STUBS, lay
from tests.cluster.stubs import STUBS
from tests.cluster.test_faults import Notes, train
from tests.conftest import small_config

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def settings(cluster, tmp_path):
    return {
        "cluster__start_timeout": 30,
        "cluster__backend": "ray",
        "cluster__address": cluster.address,
        "out": tmp_path,
    }


class Requests(Notes):
    """Requests numbers of workers, each time the previous request is fulfilled."""

    def __init__(self, *requests):
        super().__init__()
        self.requests, self.seen = list(requests), []

    def requested(self):
        fulfilled = all(size.ready == size.wanted for size in self.sizes.values())
        return self.requests.pop(0) if self.requests and self.sizes and fulfilled else {}

    def show(self, sizes):
        super().show(sizes)
        self.seen.append({role: (size.ready, size.wanted) for role, size in sizes.items()})


def until(pools, condition):
    """Make calls, which maintain the pools, until the condition holds."""
    while not condition():
        pools.get([pools.learner.submit("describe", about="the model")])


def test_pools_grow_and_shrink_on_request_during_a_run(settings, prompts):
    expected, _ = train(small_config(steps=3, out=settings["out"]), prompts, STUBS)
    notes = Requests({"reward": 4, "rollout": 3}, {"reward": 1})
    config = small_config(steps=3, workers__reward=1, workers__rollout=1, **settings)
    with open_pools(config, notes, STUBS) as pools:
        initial, reports = driver.start(pools), []
        for report in driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, initial):
            reports.append(report)
            done = report.step + 1
            until(pools, lambda: len(notes.requests) <= 1 or done == 3)  # noqa: B023
        until(pools, lambda: not notes.requests and notes.sizes["reward"].ready == 1)
    assert {(1, 1), (4, 4)} <= {sizes["reward"] for sizes in notes.seen} and notes.seen[-1]["reward"] == (1, 1)
    assert notes.seen[-1]["rollout"] == (3, 3)
    assert tensors_sha256(reports[-1].state.policy.adapter) == expected[0]


@pytest.mark.chaos
def test_a_role_with_a_span_follows_its_load(settings, prompts, tmp_path):
    """Four units wait for one blocked worker: more workers start, and are released after idling."""
    settings |= {"rollout__batch_size": 16, "steps": 2}
    expected, _ = train(small_config(**settings | {"cluster__backend": "inline"}), prompts, STUBS)
    config = small_config(workers__rollout="1-3", cluster__grow_after=0.5, cluster__shrink_after=1, **settings)
    notes = Requests()
    lay(tmp_path, "rollout-0-0.wait")

    def unblock():
        while not any(sizes["rollout"][0] == 3 for sizes in notes.seen):
            time.sleep(0.01)  # sizes published by the driver's thread, for which there is no event to wait
        (tmp_path / "faults/rollout-0-0.wait").unlink()

    helper = threading.Thread(target=unblock)
    helper.start()
    with open_pools(config, notes, FAULTY_STUBS) as pools:
        initial = driver.start(pools)
        reports = list(driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, initial))
        helper.join()
        until(pools, lambda: notes.sizes["rollout"].ready == notes.sizes["rollout"].wanted == 1)
    assert [r.metrics["reward/mean"] for r in reports] == [m["reward/mean"] for m in expected[1]]


@pytest.mark.chaos
def test_workers_without_resources_are_reported_and_given_up_after_a_timeout(settings, cluster, prompts):
    config = small_config(**settings | {"cluster__start_timeout": 20, "cluster__resources__reward__cpus": 0.5})
    notes = Requests({"reward": 6}, {"reward": 20})
    with open_pools(config, notes, STUBS) as pools:
        driver.start(pools)
        until(pools, lambda: notes.sizes["reward"].pending >= 2)
        node = cluster.add_node(num_cpus=4)  # as an autoscaler would
        until(pools, lambda: notes.sizes["reward"].ready == 6)
        until(pools, lambda: notes.sizes["reward"].pending >= 8)
        until(pools, lambda: notes.sizes["reward"].pending == 0)
        assert notes.sizes["reward"].ready == notes.sizes["reward"].wanted < 20
        assert (
            len(list(driver.train(config, Plan(plan_settings(config), prompts, prompts), pools, driver.start(pools))))
            == 2
        )
    cluster.remove_node(node)
    assert any("workers are waiting for resources" in text and "CPU" in text for text in notes.messages)
    assert any("could not be placed" in text and "the run continues with" in text for text in notes.messages)


def test_the_scale_command_reaches_a_run(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    write_config(folder, small_config(cluster__backend="ray"))
    supervisor, codes = RunSupervisor(folder, print), []
    supervisor.show({role: PoolSize(1) for role in ("rollout", "reward", "reference", "learner")})
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = threading.Thread(target=lambda: codes.append(ray_job.main(["scale", str(folder), "--reward", "4"])))
        command.start()
        while not (requested := supervisor.requested()):
            time.sleep(0.01)
        command.join()
    assert requested == {"reward": 4} and codes == [0]
    assert "reward: 1 wanted, 0 ready" in capsys.readouterr().out


def test_a_run_without_workers_is_not_scaled(tmp_path, capsys):
    """The request was accepted and never done."""
    write_config(tmp_path, small_config())
    with lock_folder(tmp_path):
        assert ray_job.main(["scale", str(tmp_path), "--reward", "3"]) == 2
    assert "computes everything in one process (cluster.backend: inline)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--reward", "3"], "no run is running in this folder"),
        (["--reward", "0"], "--reward: 0 workers"),
        ([], "pass a role and its number of workers"),
    ],
)
def test_an_invalid_request_is_refused(tmp_path, capsys, arguments, expected):
    assert ray_job.main(["scale", str(tmp_path), *arguments]) == 2
    assert expected in capsys.readouterr().err


def census(address) -> dict[str, float]:
    """Resources that a run could leave in use: in the cluster's state, in its daemons, and in this process."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        left = {
            "actors": sum(actor["State"] != "DEAD" for actor in ray._private.state.actors().values()),
            "placement groups": len(ray.util.placement_group_table()),
            "CPU in use": ray.cluster_resources()["CPU"] - ray.available_resources()["CPU"],
            "object store": get_memory_info_reply(get_state_from_address(address)).store_stats.object_store_bytes_used,
        }
    finally:
        ray.shutdown()
    daemons = [p for p in psutil.Process().children(recursive=True) if p.name() in ("raylet", "gcs_server")]
    for name, processes in [("daemons", daemons), ("driver", [psutil.Process()])]:
        left[f"threads of {name}"] = sum(p.num_threads() for p in processes)
        left[f"files of {name}"] = sum(p.num_fds() for p in processes)
    return left


def settled(address) -> dict[str, float]:
    """The census after Ray's own cleanup, which takes a second or two."""
    for _ in range(20):
        left = census(address)
        if not (left["actors"] or left["object store"] or left["CPU in use"]):
            break
        time.sleep(0.5)
    return left


@pytest.mark.parametrize("runs", [pytest.param(1, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.chaos)])
def test_runs_one_after_another_leave_nothing_behind(settings, cluster, prompts, runs):
    config = small_config(**settings)
    train(config, prompts, STUBS)
    before = settled(cluster.address)
    for _ in range(runs):
        train(config, prompts, STUBS)
    after = settled(cluster.address)
    print(before, after)
    for name in ("actors", "placement groups", "CPU in use", "object store"):
        assert before[name] == after[name] == 0, name
    for what in ("threads", "files"):
        assert after[f"{what} of daemons"] <= before[f"{what} of daemons"] + 5, (
            "the number varies, but does not grow with runs"
        )
        # Ray itself keeps one of each per connection over which an actor was called.
        assert after[f"{what} of driver"] <= before[f"{what} of driver"] + runs + 3, what


def test_growing_while_a_worker_is_leaving_releases_no_other(config):
    """One of three workers leaves after its call: growing to three again starts one worker and releases none."""
    layout = resolve(LayoutRequest.of(config), [Machine(2)])
    group = WorkerGroup("reward", STUBS(config, layout)["reward"], layout["reward"], config.cluster, print)
    group.resize(3)
    group._start = lambda: Worker("reward", "new", None, None, None)
    group.dismiss = lambda worker: pytest.fail(f"{worker.name} was released")
    old = [Worker("reward", f"old-{i}", None, None, None, state="ready", leaving=i == 0) for i in range(3)]
    group.workers = list(old)
    assert [worker.name for worker in group.fill()] == ["new"]
    assert group.workers[:3] == old and len(group.workers) == 4
