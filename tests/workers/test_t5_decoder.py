"""The shortcut for T5 gives what the model's own decoder gives."""

from dataclasses import replace

import pytest
import torch

from cluster.plan import make_unit
from configs.rollout import RolloutConfig
from tests.conftest import settings_of, small_config
from workers.rollout import t5_decoder as t5
from workers.rollout.sampling import AnyDecoder, sample
from workers.rollout.t5_decoder import T5Decoder
from workers.rollout.worker import RolloutWorker

LONG = RolloutConfig(max_new_tokens=40)


def moved(state, spread=0.03):
    """A policy whose adapter does something."""
    noise = torch.Generator().manual_seed(0)
    adapter = {n: x + spread * torch.randn(x.shape, generator=noise) for n, x in state.adapter.items()}
    return replace(state, adapter=adapter)


@pytest.fixture(scope="module")
def worker():
    return RolloutWorker(settings_of(small_config(), "rollout"))


def both(policy, unit, rollout=LONG):
    with torch.no_grad():
        encoded = policy.encode(unit.prompt_ids, unit.prompt_mask, unit.decoder_prefix)
        return [
            sample(decoder, encoded, unit, rollout, ends=[1]) for decoder in (T5Decoder.of(policy), AnyDecoder(policy))
        ]


def assert_same(policy, unit, rollout=LONG):
    (ids, mask, logprobs, _), (other, its_mask, its_logprobs, _) = both(policy, unit, rollout)
    assert torch.equal(ids, other) and torch.equal(mask, its_mask)
    torch.testing.assert_close(logprobs[mask], its_logprobs[mask], atol=1e-4, rtol=1e-4)
    assert len(mask.sum(dim=1).unique()) > 1, "rows end one after another"


@pytest.mark.parametrize(
    "rows", [[0, 1, 2, 3, 4], [0, 0, 0, 1, 1, 1], [5, 5, 5, 5, 2, 3]], ids=["each", "groups", "uneven"]
)
def test_the_shortcut_samples_what_the_model_would(worker, start, prompts, rows):
    """Law 10: for prompts of their own, for groups that share one, and as rows end and leave."""
    worker.policy.load(moved(start[0]))
    assert_same(worker.policy, make_unit(prompts, rows, (0, 0), seed=3))


def test_it_continues_a_prefix_as_the_model_would(worker, start, prompts):
    worker.policy.load(moved(start[0]))
    plain = make_unit(prompts, [0, 0, 1, 2, 3], (0, 0), seed=3)
    begun = replace(plain, decoder_prefix=torch.tensor([[0, 40, 41, 42 + row] for row in range(5)]))
    assert_same(worker.policy, begun)
    assert not torch.equal(both(worker.policy, begun)[0][0][:, :5], both(worker.policy, plain)[0][0][:, :5])


def test_it_takes_up_each_new_adapter(worker, start, unit):
    texts = [
        worker.summarize(unit, replace(moved(start[0], spread), version=v)).texts for v, spread in enumerate((0, 0.1))
    ]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("targets", ["q,k,v,o,wi_0,wi_1,wo", "wi_1"])
def test_it_knows_adapters_on_any_layer(prompts, targets):
    worker = RolloutWorker(settings_of(small_config(policy__lora__target_modules=targets), "rollout"))
    worker.policy.load(moved(worker.policy.state(0)))
    assert_same(worker.policy, make_unit(prompts, range(5), (0, 0), seed=4))


def test_products_in_blocks_are_the_same_products(worker, start, unit, monkeypatch):
    """Those of large matrices, here of all whose width allows it."""
    monkeypatch.setattr(t5, "LARGE", 0)
    monkeypatch.setattr(t5, "BLOCK", 32)
    worker.policy.load(moved(start[0]))
    decoder = T5Decoder.of(worker.policy)
    assert any(fused.blocks is not None for layer in decoder.layers for fused in layer.fused())
    assert_same(worker.policy, unit)


def test_it_stands_aside_for_what_it_does_not_know():
    assert (
        T5Decoder.of(
            RolloutWorker(settings_of(small_config(policy__lora__target_modules="q,embed_tokens"), "rollout")).policy
        )
        is None
    )


@pytest.mark.parametrize("decoder", [T5Decoder.of, AnyDecoder])
def test_rows_that_leave_change_nothing_for_those_that_stay(worker, start, unit, monkeypatch, decoder):
    worker.policy.load(moved(start[0]))
    found = []
    for share in (0.0, 1.0):
        monkeypatch.setattr("workers.rollout.sampling.LEAVE", share)
        with torch.no_grad():
            encoded = worker.policy.encode(unit.prompt_ids, unit.prompt_mask)
            found.append(sample(decoder(worker.policy), encoded, unit, LONG, ends=[1]))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_completions_are_cut_at_lengths_between_the_two(worker, start, prompts):
    rollout = RolloutConfig(max_new_tokens=9, min_cut=4)
    unit = make_unit(prompts, range(60), (0, 0), seed=4)
    worker.policy.load(start[0])
    lengths = both(worker.policy, unit, rollout)[0][1].sum(dim=1)
    assert lengths.min() == 4 and lengths.max() == 9 and len(lengths.unique()) == 6
