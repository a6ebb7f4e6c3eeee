"""Learning from preferences: the law of the first step, and the same bits or sums however the work is shared."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from cluster.driver import BOUNDS
from cluster.preferences.driver import check_start
from cluster.preferences.plan import PreferencePlan
from configs.dpo import CPO, KTO, ORPO, SimPO
from configs.errors import RunError
from learner.adapter import tensors_sha256
from learner.preferences.pairs import Preference
from tests.families import FAMILIES, WORDS
from tests.learner.preference_rows import config_of, learners, pairs, plan_of, run
from workers.preferences.examples import as_ratings

LOSSES = ["dpo", "orpo", "kto", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ipo", "cpo", "simpo"))]


def setting(loss: str = "dpo", **overrides):
    config = config_of(dpo__loss__type=loss, **overrides)
    return config, plan_of(config, as_ratings(pairs(6)) if loss == "kto" else pairs())


def metrics(reports):
    return [{k: v for k, v in r.metrics.items() if not k.startswith(("time/", "retries/"))} for r in reports]


def same(one, other):
    assert one.keys() == other.keys()
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in ((one[k], other[k]) for k in one))


@pytest.fixture(scope="module")
def whole():
    return run(*setting())


def test_before_the_first_update_implicit_rewards_are_0_and_the_loss_is_log_2(whole):
    first = whole[0].metrics
    assert first["objective/logprob_gap"] == first["rewards/chosen"] == first["rewards/rejected"] == 0
    assert first["loss/total"] == pytest.approx(math.log(2), abs=1e-7)
    assert whole[-1].metrics["objective/logprob_gap"] > 0
    assert whole[-1].metrics["held_out/rewards/margins"] != 0, "measured after the step, not before it"


def test_a_policy_that_differs_from_its_reference_is_refused_at_the_first_step():
    with pytest.raises(RunError, match="differs from its reference"):
        check_start({"objective/logprob_gap": 0.01}, BOUNDS["float32"])
    with pytest.raises(RunError):
        check_start({"objective/logprob_gap": math.nan}, BOUNDS["bfloat16"])


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_two_learners_give_the_bits_of_one(loss):
    config, plan = setting(loss)
    one, two = run(config, plan), run(config, plan, count=2)
    assert tensors_sha256(one[-1].state.policy.adapter) == tensors_sha256(two[-1].state.policy.adapter)
    for a, b in zip(metrics(one), metrics(two), strict=True):
        same(a, b)


def test_resumed_after_a_step_gives_the_same_bits(whole):
    config, plan = setting()
    resumed = run(config, plan, resumed=whole[0].state)
    assert [report.step for report in resumed] == [report.step for report in whole[1:]]
    assert tensors_sha256(resumed[-1].state.policy.adapter) == tensors_sha256(whole[-1].state.policy.adapter)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_are_the_same_for_any_split_into_microbatches(loss):
    found = []
    for size in (4, 3):
        config, plan = setting(loss, dpo__microbatch_size=size)
        [first] = run(config, PreferencePlan(*one_step(plan)))[:1]
        found.append(first.metrics)
    for other in found[1:]:
        for name in ("loss/total", "optimizer/grad_norm", "logps/chosen", "rewards/margins"):
            assert other[name] == pytest.approx(found[0][name], rel=1e-4, abs=1e-6), name


def one_step(plan):
    """The plan's arguments, with examples for a single batch."""
    return plan.settings, plan.found, plan.train[: plan.settings.batch_size], []


def trls(kind, config, **settings):
    """trl's trainer with nothing but what its loss reads."""
    made = kind.__new__(kind)
    made.accelerator = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)
    made.is_encoder_decoder, made.aux_loss_enabled, made.alpha, made.label_smoothing = True, False, 0.0, 0.0
    made.pad_token_id = made.padding_value = made.decoder_start_token_id = 0
    vars(made).update(beta=config.beta, **settings)
    return made


@pytest.mark.parametrize(
    ("config", "kind", "settings"),
    [
        (CPO(beta=0.3, nll_weight=0.5), CPOTrainer, {"loss_type": "sigmoid", "cpo_alpha": 0.5}),
        (SimPO(beta=2.0, gamma=0.5), CPOTrainer, {"loss_type": "simpo", "simpo_gamma": 0.5, "cpo_alpha": 0.0}),
        (ORPO(beta=0.2), ORPOTrainer, {}),
    ],
    ids=["cpo", "simpo", "orpo"],
)
def test_loss_gradient_and_metrics_are_those_of_trl_on_the_same_model_and_tokens(config, kind, settings):
    run_config, plan = setting(config.type, dpo__microbatch_size=4)
    [unit], [learner] = plan.units(0), learners(run_config)
    learner.loss = config
    policy, _ = learner.initial_state()
    torch.manual_seed(1)
    moved = {name: torch.randn_like(t) * 0.05 for name, t in policy.adapter.items()}
    policy = type(policy)(0, moved, policy.value_head)
    ours = learner.gradient(policy, unit, torch.zeros(len(unit.rows), 2), torch.zeros(()))
    labels = unit.completion_ids.masked_fill(~unit.completion_mask, -100)
    batch = {"prompt_input_ids": unit.prompt_ids, "prompt_attention_mask": unit.prompt_mask.long(),
             "chosen_labels": labels[::2], "rejected_labels": labels[1::2]}  # fmt: skip
    loss, theirs = trls(kind, config, **settings).get_batch_loss_metrics(learner.policy.network, batch)
    summary = learner.summarise(ours.measured)
    assert summary["loss/total"] == pytest.approx(loss.item(), rel=1e-5)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"):
        assert summary[name] == pytest.approx(float(theirs[name]), rel=1e-4, abs=1e-6), name
    parameters = [p for name, p in learner.policy.trainable().items() if name in ours.tensors]
    for name, gradient in zip(ours.tensors, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(ours.tensors[name], gradient, rtol=1e-3, atol=1e-6)


def test_a_loss_that_is_not_finite_changes_nothing_and_the_third_ends_the_run():
    config, plan = setting()
    [learner] = learners(config)
    policy, state = learner.initial_state()
    unit = plan.units(0)[0]
    for _ in range(2):
        bad = learner.gradient(policy, unit, torch.full((len(unit.rows), 2), math.inf), torch.zeros(()))
        policy, state, found = learner.apply(policy, state, bad)
        assert found["optimizer/rejected_steps"] == state.rejected and not state.moments
    assert policy.version == state.version == 2
    with pytest.raises(FloatingPointError, match=r"3 steps in a row .*dpo\.learning_rate"):
        learner.apply(policy, state, bad)


def test_padding_changes_nothing():
    config, plan = setting()
    [learner] = learners(config)
    policy, _ = learner.initial_state()
    unit = plan.units(0)[0]
    wide = {name: torch.nn.functional.pad(getattr(unit, name), (0, 7))
            for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")}  # fmt: skip
    padded = type(unit)(**{**vars(unit), **wide})
    torch.testing.assert_close(learner.logprobs(policy, padded), learner.logprobs(policy, unit))


def test_a_bart_with_a_forced_token_and_a_target_prefix_starts_at_log_2(tmp_path):
    """The forced token and the prefix are context: they are in no completion."""
    bart = next(family for family in FAMILIES if family.name == "BART").save(tmp_path / "bart")
    rows = [Preference(f"the {a} sees a {b}", f"{a} red", f"{b} old old", tie=False)
            for a, b in pairwise(WORDS[2:11])]  # fmt: skip
    config = config_of(policy__model=bart, data__target_prefix="the", rollout__max_new_tokens=8)
    plan = plan_of(config, rows)
    unit = plan.units(0)[0]
    assert unit.decoder_prefix.shape[1] == 3 and unit.completion_ids[:, 0].ne(0).all()
    reports = run(config, plan)
    assert reports[0].metrics["loss/total"] == pytest.approx(math.log(2), abs=1e-7)
    assert len(reports) == 2 and reports[1].metrics["loss/total"] < math.log(2)


def test_kto_judges_from_the_kl_of_the_whole_batch():
    config, plan = setting("kto")
    assert isinstance(config.dpo.loss, KTO)
    reports = run(config, plan)
    assert reports[0].metrics["loss/total"] == pytest.approx(0.5) and reports[0].metrics["objective/kl"] == 0
    assert [len(unit.rows) for unit in plan.units(0)] == [2, 2]
    [learner], zeros = learners(config), torch.zeros(2, 2)
    found = learner.divergence(torch.tensor([[9.0, 3.0], [9.0, 1.0]]), zeros, torch.tensor([[-9.0, 5.0]]), zeros[:1])
    assert found.item() == 3.0, "of the second completions alone, over both units"
