"""The policy: one definition of a log-probability, for any encoder-decoder."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForConditionalGeneration

from cluster.plan import make_unit
from configs.policy import PolicyConfig
from configs.rollout import RolloutConfig
from learner.policy import Policy
from learner.types import WorkUnit
from tests.conftest import settings_of, small_config
from workers.rollout.sampling import AnyDecoder, sample
from workers.rollout.worker import RolloutWorker


@pytest.fixture(scope="module")
def policy(config) -> Policy:
    """A policy whose adapter does something, as after some training."""
    policy = Policy(config.policy, config.seed)
    torch.manual_seed(0)
    for name, p in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    return policy


@pytest.fixture(scope="module")
def bart_config(tmp_path_factory, config):
    """A tiny BART of random weights: another architecture, whose decoder starts with EOS and whose pad id is 1."""
    folder = tmp_path_factory.mktemp("bart")
    tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
    torch.manual_seed(0)
    shape = BartConfig(vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32,
                       decoder_ffn_dim=32, encoder_attention_heads=2, decoder_attention_heads=2, pad_token_id=0,
                       bos_token_id=1, eos_token_id=1, decoder_start_token_id=1, forced_eos_token_id=1)  # fmt: skip
    BartForConditionalGeneration(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return small_config(policy__model=folder, policy__lora__target_modules="q_proj,v_proj")


def padded(unit: WorkUnit, left: int = 0, right: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    pad = torch.nn.functional.pad
    return pad(unit.prompt_ids, (left, right)), pad(unit.prompt_mask, (left, right))


def test_logprobs_match_transformers_own_shift(policy, unit):
    """The independent way: labels in, the model shifts them right by itself."""
    completion = torch.randint(5, 500, (4, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = policy(unit.prompt_ids, unit.prompt_mask, completion).logprobs
        logits = policy.peft(
            input_ids=unit.prompt_ids, attention_mask=unit.prompt_mask.long(), labels=completion
        ).logits
    theirs = logits.log_softmax(-1).gather(2, completion.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("left", "right"), [(0, 9), (9, 0), (3, 5)])
def test_padding_side_and_width_change_nothing(policy, unit, left, right):
    """Bug 13: left padding of encoder inputs changed T5's log-probabilities."""
    completion = torch.randint(5, 500, (4, 7), generator=torch.Generator().manual_seed(0))
    wider = torch.nn.functional.pad(completion, (0, 4))
    with torch.no_grad():
        plain = policy(unit.prompt_ids, unit.prompt_mask, completion)
        other = policy(*padded(unit, left, right), wider)
    torch.testing.assert_close(other.logprobs[:, :7], plain.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other.values[:, :7], plain.values, atol=1e-5, rtol=1e-5)


def test_decoding_with_a_cache_records_the_teacher_forced_logprobs(policy, unit):
    """Bugs 5 and 7: no token is lost, none is suppressed behind the log-probability's back."""
    with torch.no_grad():
        encoded = policy.encode(unit.prompt_ids, unit.prompt_mask)
        ids, mask, recorded, _ = sample(AnyDecoder(policy), encoded, unit, RolloutConfig(max_new_tokens=20), ends=[1])
        forced = policy(unit.prompt_ids, unit.prompt_mask, ids).logprobs
    torch.testing.assert_close(recorded[mask], forced[mask], atol=1e-4, rtol=1e-4)


def test_the_same_laws_hold_for_bart(bart_config, prompts):
    """Law 10: any encoder-decoder, here one with another start token."""
    worker = RolloutWorker(settings_of(bart_config, "rollout"))
    unit = make_unit(prompts, [0, 1, 2], (0, 0), seed=5)
    rollouts, old = worker.generate(unit, worker.policy.state(0))
    with torch.no_grad():
        forced = worker.policy(unit.prompt_ids, unit.prompt_mask, rollouts.completion_ids).logprobs
    mask = rollouts.completion_mask
    torch.testing.assert_close(rollouts.logprobs[mask], forced[mask], atol=1e-4, rtol=1e-4)
    assert torch.equal(old.logprobs, forced), "the pass that the learner starts from is of the one definition"


def test_loading_keeps_the_untied_head(config, policy, unit):
    """A T5 whose head was tied by mistake loads without complaint and computes other logits."""
    plain = AutoModelForSeq2SeqLM.from_pretrained(config.policy.model)
    assert not torch.equal(plain.lm_head.weight, plain.shared.weight)
    fresh = Policy(config.policy, config.seed)
    assert torch.equal(fresh.network.lm_head.weight, plain.lm_head.weight)


def test_a_new_adapter_changes_nothing_and_everything_random_follows_from_the_seed(config, unit):
    first, again, other = (Policy(config.policy, seed) for seed in (0, 0, 1))
    completion = torch.full((4, 3), 7)
    with torch.no_grad():
        bare = AutoModelForSeq2SeqLM.from_pretrained(config.policy.model, attn_implementation="eager")(
            input_ids=unit.prompt_ids, attention_mask=unit.prompt_mask.long(), labels=completion
        ).logits
        torch.testing.assert_close(first(unit.prompt_ids, unit.prompt_mask, completion).full, bare.log_softmax(dim=-1))
    a, b, c = (p.state(0) for p in (first, again, other))
    assert all(torch.equal(a.adapter[n], b.adapter[n]) for n in a.adapter)
    assert not all(torch.equal(a.adapter[n], c.adapter[n]) for n in a.adapter)


def test_only_adapter_and_value_head_are_trainable(policy):
    assert {n.split(".")[0] for n in policy.trainable()} == {"peft", "value_head"}
    assert all("lora_" in n for n in policy.trainable() if n.startswith("peft"))


def test_load_brings_back_a_state(config, policy, unit):
    completion = torch.full((4, 3), 7)
    other = Policy(config.policy, seed=9)
    other.load(policy.state(version=4))
    with torch.no_grad():
        for mine, theirs in zip(
            *(p(unit.prompt_ids, unit.prompt_mask, completion) for p in (policy, other)), strict=True
        ):
            assert torch.equal(mine, theirs)


def test_dropout_is_off_in_every_worker(policy, rollout_worker, reference_worker, reward_worker, learner):
    """Bug 6: rollouts after the first step ran with dropout on."""
    models = [
        policy,
        rollout_worker.policy,
        reference_worker.policy,
        reward_worker.rewards.parts["classifier"].members[0].model,
        learner.policy,
    ]
    assert not [m for model in models for m in model.modules() if m.training]


def test_bfloat16_base_keeps_what_is_trained_in_float32():
    policy = Policy(PolicyConfig(model="quickstart/policy", dtype="bfloat16"), seed=0)
    assert policy.network.dtype == torch.bfloat16
    assert {p.dtype for p in policy.trainable().values()} == {torch.float32}
