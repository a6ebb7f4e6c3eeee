"""Learning from preferences on Ray: the bits of one process, also if a learner is killed."""

import os
import signal

import pytest
from ray.cluster_utils import Cluster

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from cluster.pools.opening import open_pools
from cluster.preferences.driver import References, learn, reference_logprobs, start
from cluster.roles import preference_specs
from learner.adapter import tensors_sha256
from tests.conftest import small_config
from tests.learner.preference_rows import config_of, pairs, plan_of, run


def test_learners_get_whole_gpus_where_there_are_enough():
    config = small_config(dpo__workers=2, dpo__batch_size=4, dpo__microbatch_size=2, workers__rollout=7)
    layout = resolve(LayoutRequest.of_learners(config), [Machine(8, gpus=4)])
    assert layout.keys() == {"learner"} and layout["learner"].fewest == 2 and layout["learner"].gpus == 1
    assert resolve(LayoutRequest.of_learners(config), [Machine(8, gpus=1)])["learner"].gpus == 0.5


@pytest.mark.ray
@pytest.mark.slow
def test_a_learner_that_is_killed_costs_no_bits():
    inline = run(config_of(), plan_of(config_of(), pairs()))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        config = config_of(cluster__backend="ray", cluster__address=cluster.address, dpo__workers=2)
        plan = plan_of(config, pairs())
        config = config.model_copy(update={"steps": plan.steps})
        request, lost, reports = LayoutRequest.of_learners(config), 0, []
        with open_pools(config, specs=preference_specs, request=request) as pools:
            initial, references = start(pools), References(needed=True)
            for unit, logprobs in reference_logprobs(plan.first_units(), pools, initial.reference):
                references.add(unit, logprobs)
            for report in learn(config.dpo, plan, pools, initial, references):
                reports.append(report)
                if len(reports) == 1:
                    for pid, _ in pools.processes():
                        os.kill(pid, signal.SIGKILL)
            lost = pools.retries["learner"]
    finally:
        cluster.shutdown()
    assert lost >= 1
    assert tensors_sha256(reports[-1].state.policy.adapter) == tensors_sha256(inline[-1].state.policy.adapter)
