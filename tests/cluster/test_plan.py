"""The plan depends on seed and step alone."""

import torch

from cluster.plan import Plan, make_unit
from cluster.preflight.data import plan_settings
from tests.conftest import small_config


def same(a, b):
    return a.rows == b.rows and a.seed == b.seed and torch.equal(a.prompt_ids, b.prompt_ids) and a.key == b.key


def test_units_do_not_depend_on_worker_counts_or_earlier_requests(config, prompts):
    plan = Plan(plan_settings(config), prompts, prompts)
    early = plan.units(5)
    other = Plan(plan_settings(small_config(workers__rollout=7, workers__reward=5)), prompts, prompts)
    for step in range(5):
        plan.units(step)
    for again in (plan.units(5), other.units(5)):
        assert all(map(same, early, again))


def test_each_pass_visits_every_prompt_once_in_a_new_order(prompts):
    plan = Plan(plan_settings(small_config(rollout__batch_size=8)), prompts[:20], prompts)
    rows = [row for step in range(5) for unit in plan.units(step) for row in unit.rows]
    assert sorted(rows[:20]) == sorted(rows[20:]) == list(range(20)) and rows[:20] != rows[20:]


def test_seeds_differ_between_runs_steps_and_units(prompts):
    seeds = [
        u.seed
        for run in (0, 1)
        for step in range(3)
        for u in Plan(plan_settings(small_config(seed=run)), prompts, prompts).units(step)
    ]
    assert len(set(seeds)) == len(seeds)


def test_evaluation_units_do_not_depend_on_the_run_seed_and_cover_each_row_once_per_sample(prompts):
    """Bug 10: the policies before and after training were evaluated on different, unseeded samples."""
    one, two = (Plan(plan_settings(small_config(seed=seed)), prompts, prompts).evaluation_units() for seed in (0, 1))
    assert all(map(same, one, two))
    assert sorted(row for unit in one for row in unit.rows) == sorted(list(range(6)) * (2 + 1))


def test_units_are_padded_on_the_right_to_their_longest_prompt(prompts):
    unit = make_unit(prompts, [2, 0], (0, 0), seed=0)
    assert unit.prompt_ids.shape[1] == max(len(prompts[i].token_ids) for i in (0, 2))
    for row, ids, mask in zip(unit.rows, unit.prompt_ids, unit.prompt_mask, strict=True):
        assert tuple(ids[mask].tolist()) == prompts[row].token_ids and mask[0]
