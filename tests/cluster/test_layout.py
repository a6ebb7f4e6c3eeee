"""`auto` finds a layout that fits the machines; a layout that does not fit is refused with one that does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.fit import check_fit
from cluster.layout import ROLES, LayoutRequest, demand, describe, resolve
from cluster.placement import Machine, fits
from configs.errors import UsageError
from tests.conftest import small_config

AUTO = {f"workers__{role}": "auto" for role in ROLES if role != "learner"}


def request(**overrides):
    return LayoutRequest.of(small_config(rollout__batch_size=64, rollout__unit_size=4, **overrides))


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        ([Machine(1)], "1 rollout (0.062 CPU), 1 reward (0.062 CPU), 1 reference (0.062 CPU), 1 learner (0.062 CPU)"),
        ([Machine(2)], "2 rollout (0.1 CPU), 1 reward (0.1 CPU), 1 reference (0.1 CPU), 1 learner (0.1 CPU)"),
        ([Machine(64)], "16 rollout (0.25 CPU), 16 reward (0.25 CPU), 16 reference (0.25 CPU), 1 learner (0.25 CPU)"),
        ([Machine(8, 1)], "1 rollout (0.5 CPU, 0.25 GPU), 1 reward (0.5 CPU, 0.25 GPU), "
         "1 reference (0.5 CPU, 0.25 GPU), 1 learner (0.5 CPU, 0.25 GPU)"),
        ([Machine(16, 2)], "1 rollout (1 CPU, 1 GPU), 1 reward (1 CPU, 0.3333 GPU), 1 reference (1 CPU, 0.3333 GPU), "
         "1 learner (1 CPU, 0.3333 GPU)"),
        ([Machine(32, 4)] * 2, "6 rollout (1 CPU, 1 GPU), 1 reward (1 CPU, 0.5 GPU), 1 reference (1 CPU, 0.5 GPU), "
         "1 learner (1 CPU, 1 GPU)"),
    ],
    ids=["one core", "two cores", "64 cores", "one GPU", "two GPUs", "eight GPUs"],
)  # fmt: skip
def test_auto_suits_the_machines(machines, expected):
    assert describe(resolve(request(**AUTO), machines)) == expected


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(0, 8)), min_size=1, max_size=6),
    st.integers(1, 40),
    st.booleans(),
)
def test_auto_always_fits(machines, units, counts_are_auto):
    machines = [Machine(*m) for m in machines]
    requested = request(**AUTO) if counts_are_auto else request(workers__rollout=units)
    resolved = resolve(requested, machines)
    assert fits(demand(resolved), machines), describe(resolved)
    check_fit(requested, machines)


def test_auto_does_not_change_what_determines_the_bits():
    """The number of threads comes from the config, never from the machine."""
    resolved = resolve(request(**AUTO, cluster__resources__learner__threads=3), [Machine(64)])
    assert [resolved[role].threads for role in ROLES] == [1, 1, 1, 3]
    assert resolved["learner"].cpus == 3 * resolved["reward"].cpus


def test_auto_gives_no_role_more_workers_than_a_step_has_units():
    rollout = resolve(LayoutRequest.of(small_config(**AUTO)), [Machine(64)])["rollout"]
    assert (rollout.fewest, rollout.most) == (2, 2)


def test_explicit_numbers_are_kept():
    given = request(workers__reward=3, cluster__resources__reward__cpus=0.5)
    resolved = resolve(given, [Machine(64)])
    assert [resolved[role].fewest for role in ROLES] == [getattr(given.workers, role) for role in ROLES]
    assert resolved["reward"].cpus == 0.5


def test_a_worker_larger_than_each_machine_does_not_fit_on_any_number_of_machines():
    requested = request(cluster__resources__learner__cpus=4)
    with pytest.raises(UsageError, match=r"this would fit: .*--cluster\.resources\.learner\.cpus auto"):
        check_fit(requested, [Machine(2)] * 8)


def test_the_suggested_settings_fit():
    machines = [Machine(4)]
    requested = request(workers__rollout=9, **{f"cluster__resources__{role}__cpus": 1 for role in ROLES})
    with pytest.raises(UsageError) as caught:
        check_fit(requested, machines)
    suggested = str(caught.value).split("this would fit: ")[1].replace("--", "").replace(".", "__").split()
    settings = dict(zip(suggested[::2], suggested[1::2], strict=True))
    again = request(**{f"cluster__resources__{role}__cpus": 1 for role in ROLES}, **settings)
    check_fit(again, machines)


def test_a_role_with_a_span_starts_with_its_fewest_workers():
    assert "1 to 50 reward" in describe(check_fit(request(workers__reward="1-50"), [Machine(4)]))


def test_a_fraction_of_a_gpu_is_taken_from_a_single_gpu():
    assert fits([(0, 0.6)] * 2 + [(0, 0.4)] * 2, [Machine(0, 2)])
    assert not fits([(0, 0.6)] * 3, [Machine(0, 2)]), "1.8 of 2 GPUs, but no two fit on one"
    assert fits([(0, 2), (0, 1)], [Machine(0, 3)]) and not fits([(0, 2)], [Machine(0, 1)] * 2)


def test_auto_gives_the_other_roles_what_an_explicit_share_leaves():
    requested = LayoutRequest.of(small_config(cluster__resources__learner__cpus=1.5))
    assert resolve(requested, [Machine(2)])["rollout"].cpus == 0.1
    check_fit(requested, [Machine(2)])
