"""The laws of a log-probability and of a completion, in every family of models."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from cluster.plan import make_unit
from configs.decoding import Greedy
from learner.lora import unreached
from learner.policy import Policy
from learner.pretrained import META
from learner.targets import Collator, as_example, prefix_length, target_ids, with_end
from tests.conftest import settings_of, small_config
from tests.families import FAMILIES
from workers.data.prompts import Prompt
from workers.reference import ReferenceWorker
from workers.rollout.worker import RolloutWorker

TEXTS = ["the dog sees a cat", "a cat", "the old bird leaves her house quickly and likes a small green garden today",
         "his train takes the red dog under your house again", "the dog sees a cat", "garden"]  # fmt: skip
TOKENS = 16
OFTEN = {"BART", "NLLB", "LED", "BlenderbotSmall", "EncoderDecoderModel, bert2gpt2", "T5Gemma", "T5Gemma 2"}
"""One of each kind of difference; `make test-slow` goes through all families, which takes most of a minute."""
CASES = [pytest.param(f, id=f.name, marks=[] if f.name in OFTEN else pytest.mark.slow) for f in FAMILIES]


class Subject:
    """A family's rollout worker with an adapter that does something, and a unit of texts of different lengths."""

    def __init__(self, family, folder):
        self.family = family
        self.config = small_config(policy__model=folder, policy__dtype="float32", rollout__max_new_tokens=TOKENS)
        self.worker = RolloutWorker(settings_of(self.config, "rollout"))
        self.policy, self.start = self.worker.policy, self.worker.policy.state(0)
        noise = torch.Generator().manual_seed(0)
        moved = {n: x + 0.1 * torch.randn(x.shape, generator=noise) for n, x in self.start.adapter.items()}
        self.moved = replace(self.start, version=1, adapter=moved)
        ids = self.worker.tokenizer(TEXTS)["input_ids"]
        self.prompts = [Prompt(text, tuple(row), ("",), text) for text, row in zip(TEXTS, ids, strict=True)]
        self.unit = make_unit(self.prompts, range(len(TEXTS)), (0, 0), seed=3)

    def begun(self, *tokens):
        """The unit with given tokens after the decoder's start."""
        prefix = torch.tensor([[*self.policy.decoder_prefix, *tokens]] * len(TEXTS))
        return replace(self.unit, decoder_prefix=prefix)

    def sampled(self, state, *given):
        """Completions of which some end soon and some are cut."""
        for seed in range(100):
            rollouts, old = self.worker.generate(replace(self.begun(*given), seed=seed), state)
            if rollouts.ended.any() and not rollouts.ended.all():
                return rollouts, old
        raise AssertionError("none ends, or none is cut")


@pytest.fixture(scope="module", params=CASES)
def subject(request, tmp_path_factory):
    return Subject(request.param, request.param.save(tmp_path_factory.mktemp("family") / "model"))


@pytest.mark.parametrize("given", [(), (6, 7)], ids=["", "after a prefix"])
@torch.no_grad()
def test_recorded_logprobs_are_the_teacher_forced_ones(subject, given):
    rollouts, old = subject.sampled(subject.moved, *given)
    unit, mask = rollouts.unit, rollouts.completion_mask
    forced = subject.policy(unit.prompt_ids, unit.prompt_mask, rollouts.completion_ids, unit.decoder_prefix)
    torch.testing.assert_close(rollouts.logprobs[mask], forced.logprobs[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(old.logprobs[mask], forced.logprobs[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(old.values[mask], forced.values[mask], atol=1e-4, rtol=1e-4)


def test_the_reference_is_the_policy_at_the_start(subject):
    rollouts, old = subject.worker.generate(subject.unit, subject.start)
    reference = ReferenceWorker(settings_of(subject.config, "reference")).logprobs(rollouts, subject.start)
    assert torch.equal(reference.logprobs, old.logprobs)


@torch.no_grad()
def test_padding_changes_nothing(subject):
    subject.policy.load(subject.moved)
    unit, pad = subject.unit, torch.nn.functional.pad
    ids = torch.randint(5, 30, (len(TEXTS), 7), generator=torch.Generator().manual_seed(0))
    plain = subject.policy(unit.prompt_ids, unit.prompt_mask, ids)
    wider = subject.policy(pad(unit.prompt_ids, (0, 9)), pad(unit.prompt_mask, (0, 9)), pad(ids, (0, 4)))
    for row in range(len(TEXTS)):
        length = int(unit.prompt_mask[row].sum())
        alone = subject.policy(
            unit.prompt_ids[row, None, :length], unit.prompt_mask[row, None, :length], ids[row, None]
        )
        for other in (wider.logprobs[row, :7], alone.logprobs[0]):
            torch.testing.assert_close(other, plain.logprobs[row], atol=1e-4, rtol=1e-4)
        for other in (wider.values[row, :7], alone.values[0]):
            torch.testing.assert_close(other, plain.values[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("given", [(), (6, 7)], ids=["", "after a prefix"])
@torch.no_grad()
def test_greedy_completions_are_those_of_generate(subject, given):
    unit = replace(subject.begun(*given) if given else subject.unit, decoding=Greedy())
    rollouts = subject.worker.summarize(unit, subject.start)
    model = AutoModelForSeq2SeqLM.from_pretrained(subject.config.policy.model, attn_implementation="eager").eval()
    named = model.generation_config
    start = [named.bos_token_id if named.decoder_start_token_id is None else named.decoder_start_token_id]
    start += [] if named.forced_bos_token_id is None else [named.forced_bos_token_id]
    start += given
    model.generation_config = GenerationConfig(decoder_start_token_id=start[0])  # without processors
    more = {}
    if subject.family.name == "LED":
        more["global_attention_mask"] = torch.zeros_like(unit.prompt_ids)
        more["global_attention_mask"][:, 0] = 1
    found = model.generate(input_ids=unit.prompt_ids, attention_mask=unit.prompt_mask.long(), do_sample=False,
                           decoder_input_ids=torch.tensor([start] * len(TEXTS)), num_beams=1, max_new_tokens=TOKENS,
                           eos_token_id=named.eos_token_id, pad_token_id=named.pad_token_id, **more)  # fmt: skip
    found = found[:, len(start) :]
    for ids, mask, theirs in zip(rollouts.completion_ids, rollouts.completion_mask, found, strict=True):
        ours = ids[mask]
        assert torch.equal(ours, theirs[: len(ours)])
        assert len(ours) == TOKENS or ours[-1] == named.eos_token_id


def test_completions_end_at_the_models_eos(subject):
    eos = subject.policy.network.generation_config.eos_token_id
    assert subject.worker.ends == (eos,)
    rollouts, _ = subject.sampled(subject.start)
    for ids, mask, ended in zip(rollouts.completion_ids, rollouts.completion_mask, rollouts.ended, strict=True):
        assert ids[mask].tolist().count(eos) == ended, "once, or it was cut"


@torch.no_grad()
def test_supervised_loss_is_the_policys_over_targets_that_end_in_the_models_eos(subject):
    subject.policy.load(subject.moved)
    tokenizer, network = subject.worker.tokenizer, subject.policy.network
    prefix = (*subject.policy.decoder_prefix, 6, 7)
    targets = [with_end(target_ids(tokenizer, text, prefix), subject.worker.ends, 12) for text in TEXTS[1::-1]]
    examples = [as_example(p.token_ids, prefix, t) for p, t in zip(subject.prompts, targets, strict=False)]
    batch = Collator(network, 0)(examples)
    assert prefix_length(batch["labels"]) == len(prefix)
    total = 0.0
    for prompt, target in zip(subject.prompts, targets, strict=False):
        ids = torch.tensor([prompt.token_ids])
        begun = torch.tensor([prefix])
        total += subject.policy(ids, torch.ones_like(ids).bool(), torch.tensor([target]), begun).logprobs.sum().item()
        assert target[-1] == network.generation_config.eos_token_id and len(target) <= 12
        assert target.count(target[-1]) == 1 and not set(prefix[:-2]) & set(target[:-1])
        assert tokenizer.decode(target, skip_special_tokens=True)
    assert network(**batch).loss.item() == pytest.approx(-total / sum(map(len, targets)), rel=1e-4)


def test_the_adapted_layers_are_the_familys_and_all_of_them_learn(subject):
    shape = subject.policy.peft.peft_config["default"]
    assert set(shape.target_modules) == set(subject.family.targets)
    assert unreached(Policy(subject.config.policy, 0, META).peft) == []
    unit = subject.unit
    subject.policy.load(subject.moved)
    subject.policy(unit.prompt_ids, unit.prompt_mask, unit.prompt_ids[:, :5]).logprobs.sum().backward()
    adapted = {n: p for n, p in subject.policy.trainable().items() if "lora_" in n}
    assert adapted and [n for n, p in adapted.items() if p.grad is None or not p.grad.abs().sum()] == []
    subject.policy.zero_grad()


@torch.no_grad()
def test_leds_first_token_is_seen_by_all_and_sees_all(tmp_path):
    """Without it, tokens more than a window apart never meet."""
    family = next(family for family in FAMILIES if family.name == "LED")
    led = Subject(family, family.save(tmp_path / "led"))
    unit, network = led.unit, led.policy.network
    first = torch.zeros_like(unit.prompt_ids)
    first[:, 0] = 1
    mask, real = unit.prompt_mask.long(), unit.prompt_mask
    theirs = network.get_encoder()(unit.prompt_ids, attention_mask=mask, global_attention_mask=first).last_hidden_state
    without = network.get_encoder()(unit.prompt_ids, attention_mask=mask).last_hidden_state
    ours = led.policy.encode(unit.prompt_ids, unit.prompt_mask).rows()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours[real], without[real], atol=1e-3)
