"""Which role gives up a place for one that has none, and when; no cluster is needed to decide that."""

from time import monotonic

import pytest

from cluster.pools.worker_group import STANDSTILL, Crew, Worker
from tests.conftest import small_config


def crew(role: str, *states: str, seconds: float = 2 * STANDSTILL) -> Crew:
    """A role's workers; each has been in its state for so long."""
    crew, then = Crew(role, "", small_config(), said.append), monotonic() - seconds
    for state in states:
        crew.workers.append(Worker(role, role, None, None, None, state, since=then))
        crew.workers[-1].placed = -float("inf") if state == "pending" else then
    crew.resize(len(states))
    return crew


said: list[str] = []


def test_a_role_without_a_place_is_given_one_by_the_role_that_holds_most():
    starved, others = (
        crew("reference", "pending"),
        [crew("rollout", "ready", "ready", "loading"), crew("reward", "ready")],
    )
    starved.make_room([starved, *others])
    assert [crew.wanted for crew in others] == [2, 1] and "rollout does with 2" in said[-1]
    starved.make_room([starved, *others])
    assert others[0].wanted == 2, "one at a time: the place must have time to become free"


@pytest.mark.parametrize(
    ("starved", "other", "seconds"),
    [
        (("pending",), ("ready", "ready"), STANDSTILL / 2),  # they only just found a place
        (("pending",), ("pending", "pending"), 2 * STANDSTILL),  # it has nothing to give
        (("pending",), ("ready", "pending"), 2 * STANDSTILL),  # its last place
        (("pending", "loading"), ("ready", "ready"), 2 * STANDSTILL),  # one of its own has a place
        ((), ("ready", "ready"), 2 * STANDSTILL),
    ],
)
def test_nobody_gives_up_a_place_in_vain(starved, other, seconds):
    starved, other = crew("reference", *starved), crew("rollout", *other, seconds=seconds)
    wanted = other.wanted
    starved.make_room([starved, other])
    assert other.wanted == wanted
