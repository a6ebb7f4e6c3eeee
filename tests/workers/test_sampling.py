"""Sampling settings: what is drawn, and what is recorded of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from cluster.plan import make_unit
from configs.decoding import BeamSearch, Greedy, SamplingConfig
from configs.rollout import RolloutConfig
from learner.distribution import NEVER, pack, unpack
from tests.conftest import settings_of, small_config
from workers.rollout.distribution import Distribution
from workers.rollout.sampling import AnyDecoder, sample
from workers.rollout.t5_decoder import T5Decoder
from workers.rollout.worker import RolloutWorker

SETTINGS = {
    "plain": {},
    "hot": {"temperature": 1.7},
    "cold": {"temperature": 0.6},
    "top_k": {"top_k": 4},
    "top_p": {"temperature": 1.4, "top_p": 0.8},
    "min_p": {"temperature": 1.4, "min_p": 0.05},
    "all": {"temperature": 1.5, "top_k": 20, "top_p": 0.95, "min_p": 0.02},
}
COUNT = 400


@pytest.fixture(scope="module")
def policy(start):
    """A policy whose adapter does something, and that leaves many tokens a chance."""
    policy = RolloutWorker(settings_of(small_config(), "rollout")).policy
    policy.network.lm_head.weight.data /= 2
    noise = torch.Generator().manual_seed(0)
    moved = {n: x + 0.1 * torch.randn(x.shape, generator=noise) for n, x in start[0].adapter.items()}
    policy.load(replace(start[0], adapter=moved))
    return policy


@pytest.fixture(scope="module")
def same(prompts):
    """One prompt many times."""
    return make_unit(prompts, [3] * COUNT, (0, 0), seed=5)


def sampled(policy, decoder, unit, tokens=2, **settings):
    with torch.no_grad():
        encoded = policy.encode(unit.prompt_ids, unit.prompt_mask)
        return sample(decoder(policy), encoded, unit, RolloutConfig(max_new_tokens=tokens, **settings), ends=[1])


@pytest.mark.parametrize("decoder", [T5Decoder.of, AnyDecoder], ids=["t5", "any"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_recorded_is_the_distribution_that_was_sampled(policy, same, setting, decoder):
    """First tokens, and second ones after the commonest first: recorded as worked out anew, as often as recorded."""
    ids, mask, logprobs, sampling_mask = sampled(policy, decoder, same, **SETTINGS[setting])
    commonest = ids[:, 0].mode().values.item()
    for t, before, rows in [(0, [], mask[:, 0]), (1, [commonest], mask[:, 1] & (ids[:, 0] == commonest))]:
        p = worked_out(policy, same, before, SamplingConfig(**SETTINGS[setting]))
        drawn = ids[rows, t].numpy()
        np.testing.assert_allclose(logprobs[rows, t].exp(), p[drawn], rtol=1e-4)
        assert chi_square(np.bincount(drawn, minlength=len(p)), p) > 1e-3
        if sampling_mask.shape[2]:
            assert unpack(sampling_mask[rows, t][0], len(p)).tolist() == (p > 0).tolist()
    truncated = setting not in ("plain", "hot", "cold")
    assert bool(sampling_mask.shape[2]) == truncated, "without truncation there is nothing to remember"


def worked_out(policy, unit, before, settings):
    """Probabilities [V] of the token after `before`, in numpy, from the logits of the model itself."""
    inputs = {"input_ids": unit.prompt_ids[:1], "attention_mask": unit.prompt_mask[:1].long()}
    with torch.no_grad():
        out = policy.network(**inputs, decoder_input_ids=torch.tensor([[*policy.decoder_prefix, *before]]))
    logits = out.logits[0, -1].double().numpy() / settings.temperature
    p = np.exp(logits - logits.max())
    p /= p.sum()
    if settings.top_k:
        p = np.where(p >= np.sort(p)[-settings.top_k], p, 0) / np.sort(p)[-settings.top_k :].sum()
    order = p.argsort()[::-1]
    p[order[p[order].cumsum() - p[order] >= settings.top_p]] = 0  # what likelier tokens have already
    p[p < settings.min_p * p.max()] = 0
    return p / p.sum()


def chi_square(counts, p):
    """Probability of counts [V] as unlikely as these, in bins of at least five expected ones."""
    order = p.argsort()[::-1]
    number = np.floor(p[order].cumsum() * counts.sum() / 5)  # tokens with the same one share a bin
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    observed, expected = (np.add.reduceat(x[order], starts) for x in (counts, p * counts.sum()))
    few = expected < 5
    observed, expected = ([*x[~few], x[few].sum()] if few.any() else x for x in (observed, expected))
    assert len(expected) > 1
    return chisquare(observed, expected).pvalue


def test_truncation_matches_hand_computed():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for settings, kept in [
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.6}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"min_p": 0.2}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"top_k": 3, "top_p": 0.8}, [0.625, 0.375, 0, 0]),  # of three tokens, two have 84%
        ({"temperature": 0.5, "top_k": 2}, [25 / 34, 9 / 34, 0, 0]),
        ({"temperature": 0.5, "min_p": 0.2}, [25 / 34, 9 / 34, 0, 0]),  # of what the temperature makes of them
    ]:
        drawn = Distribution(SamplingConfig(**settings))(logits)
        torch.testing.assert_close(drawn.logprobs.exp(), torch.tensor([kept]).float(), msg=str(settings))
        assert unpack(drawn.sampling_mask, 4).tolist() == [[p > 0 for p in kept]]
        assert (drawn.logprobs >= NEVER).all(), "finite, so that 0 times it is 0"


@pytest.mark.parametrize("vocabulary", [1, 8, 9, 100])
def test_a_mask_is_unpacked_as_it_was_packed(vocabulary):
    kept = torch.rand(3, 2, vocabulary, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = pack(kept)
    assert packed.dtype == torch.uint8 and packed.shape == (3, 2, -(-vocabulary // 8))
    assert torch.equal(unpack(packed, vocabulary), kept)
    assert unpack(packed[..., :0], vocabulary) is None


@pytest.mark.parametrize("decoder", [T5Decoder.of, AnyDecoder], ids=["t5", "any"])
def test_the_coldest_and_the_narrowest_are_greedy(policy, prompts, decoder):
    unit = make_unit(prompts, range(6), (0, 0), seed=5)
    greedy = sampled(policy, decoder, replace(unit, decoding=Greedy()), tokens=20)
    narrow = sampled(policy, decoder, unit, tokens=20, top_k=1)
    assert torch.equal(narrow.ids, greedy.ids) and not narrow.logprobs[narrow.mask].any(), "log-probability 0"
    cold = sampled(policy, decoder, unit, tokens=20, temperature=0.01)
    assert torch.equal(cold.ids, greedy.ids) and cold.logprobs[cold.mask].mean() > -0.01
    other = sampled(policy, decoder, replace(unit, decoding=Greedy()), tokens=20, top_k=3, top_p=0.5, temperature=2)
    assert torch.equal(other.ids, greedy.ids), "what is likeliest does not depend on them"


def test_beam_search_is_transformers_own(prompts):
    """With the processors of the model's generation config: those of whoever loads the model."""
    worker = RolloutWorker(settings_of(small_config(rollout__max_new_tokens=30), "rollout"))
    worker.policy.network.generation_config.no_repeat_ngram_size = 2
    state = worker.policy.state(0)
    noise = torch.Generator().manual_seed(0)
    moved = {n: x + 0.1 * torch.randn(x.shape, generator=noise) for n, x in state.adapter.items()}
    unit = make_unit(prompts, [0, 3, 3, 5], (0, 0), seed=5)
    decoding = BeamSearch(num_beams=3, length_penalty=2.0)
    found = worker.summarize(replace(unit, decoding=decoding), replace(state, adapter=moved))
    theirs = worker.policy.peft.generate(
        input_ids=unit.prompt_ids, attention_mask=unit.prompt_mask.long(), max_new_tokens=30, num_beams=3,
        length_penalty=2.0, do_sample=False,
    )  # fmt: skip
    assert list(found.texts) == worker.tokenizer.batch_decode(theirs, skip_special_tokens=True)
    greedy = worker.summarize(replace(unit, decoding=Greedy()), replace(state, adapter=moved))
    assert found.texts != greedy.texts and len(found.completion_mask.sum(dim=1).unique()) > 1
    for ids, mask, ended in zip(found.completion_ids, found.completion_mask, found.ended, strict=True):
        assert ended == (ids[mask][-1] == 1) and 1 not in ids[mask][:-1], "nothing counts after EOS"
    with torch.no_grad():
        forced = worker.policy(unit.prompt_ids, unit.prompt_mask, found.completion_ids).logprobs
    mask = found.completion_mask
    torch.testing.assert_close(found.logprobs[mask], forced[mask], atol=1e-5, rtol=1e-5)
