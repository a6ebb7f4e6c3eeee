"""Which role gives up a worker for a role that has none, and when. No cluster is needed to decide that."""

from time import monotonic

import pytest

from cluster.layout import RoleLayout
from cluster.pools.interface import WorkerSpec
from cluster.pools.worker_group import STANDSTILL, Worker, WorkerGroup
from configs.cluster import ClusterConfig


def group(role: str, *states: str, seconds: float = 2 * STANDSTILL) -> WorkerGroup:
    """A role's workers, each of which has been in its state for `seconds`."""
    layout = RoleLayout(fewest=1, most=1, cpus=1, gpus=0, threads=1)
    one = WorkerGroup(role, WorkerSpec("", None), layout, ClusterConfig(), messages.append)
    then = monotonic() - seconds
    for state in states:
        one.workers.append(Worker(role, role, None, None, None, state, since=then))
        one.workers[-1].placed_at = -float("inf") if state == "pending" else then
    one.resize(len(states))
    return one


messages: list[str] = []


def test_a_role_without_workers_gets_a_place_from_the_role_with_most():
    starved, others = (
        group("reference", "pending"),
        [group("rollout", "ready", "ready", "loading"), group("reward", "ready")],
    )
    starved.make_room([starved, *others])
    assert [other.wanted for other in others] == [2, 1] and "rollout shrinks to 2" in messages[-1]
    starved.make_room([starved, *others])
    assert others[0].wanted == 2, "one at a time: the place needs time to become free"


@pytest.mark.parametrize(
    ("starved", "other", "seconds"),
    [
        (("pending",), ("ready", "ready"), STANDSTILL / 2),  # they were placed only recently
        (("pending",), ("pending", "pending"), 2 * STANDSTILL),  # the other role has no place to give
        (("pending",), ("ready", "pending"), 2 * STANDSTILL),  # only its last place
        (("pending", "loading"), ("ready", "ready"), 2 * STANDSTILL),  # one of its own workers has a place
        ((), ("ready", "ready"), 2 * STANDSTILL),
    ],
)
def test_no_role_gives_up_a_place_in_vain(starved, other, seconds):
    starved, other = group("reference", *starved), group("rollout", *other, seconds=seconds)
    wanted = other.wanted
    starved.make_room([starved, other])
    assert other.wanted == wanted
