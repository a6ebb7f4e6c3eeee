"""Figures of a summary against numbers worked out by hand."""

from dataclasses import replace

import pytest

from configs.decoding import Greedy
from learner.rewards import kl_estimate
from workers.evaluation.evaluate_modules import Rouge
from workers.evaluation.text_metrics import copied, repetition, text_metrics


def test_rouge_matches_hand_computed_and_takes_the_best_reference():
    scores = Rouge().compute(predictions=["the cat sat", "a b"], references=[["dogs ran", "the cat ran"], ["c d"]])
    assert scores["rouge1"] == pytest.approx([100 * 2 / 3, 0])
    assert scores["rouge2"] == pytest.approx([50, 0])
    assert scores["rougeL"] == pytest.approx([100 * 2 / 3, 0])


def test_rouge_lsum_is_over_sentences():
    """It was ROUGE-L in 3,103 of 3,104 summaries, for want of lines."""
    texts = ["dogs ran off. cats came in.", "Mr. Smith left"]
    references = [["cats came in. dogs ran off."], ["Smith left Mr. Lee"]]
    scores = Rouge().compute(predictions=texts, references=references)
    assert scores["rougeL"] == pytest.approx([50, 400 / 7]), "the longest common subsequence of all"
    assert scores["rougeLsum"] == pytest.approx([100, 400 / 7]), "that of each sentence; Mr. ends none"
    no = Rouge().compute(predictions=["Cats said no. Dogs ran."], references=[["Dogs ran. Cats said no."]])
    assert no["rougeLsum"] == pytest.approx([100])
    lines = Rouge().compute(predictions=["dogs ran off\ncats came in"], references=[["cats came in\ndogs ran off"]])
    assert lines["rougeLsum"] == pytest.approx([100])


def test_repetition_is_the_share_of_trigrams_that_came_before():
    assert repetition("a b c a b c") == pytest.approx(1 / 4)  # abc bca cab abc
    assert repetition("x x x x x") == pytest.approx(2 / 3)
    assert repetition("a b") == repetition("") == 0


def test_copied_is_the_share_of_trigrams_that_stand_in_the_source():
    assert copied("The cat sat down", "and the cat sat there") == pytest.approx(1 / 2)
    assert copied("a b c", "a b c") == 1 and copied("", "a b c") == 0


def test_figures_of_a_unit_stand_beside_its_rows(rollout_worker, start, unit):
    rollouts = rollout_worker.summarize(unit, start[0])
    rollouts = replace(rollouts, texts=(unit.references[0][0], "", *rollouts.texts[2:]))
    first, second = text_metrics(rollouts)[:2]
    assert first["row"] == unit.rows[0] and first["rougeL"] == pytest.approx(100) and second["rougeL"] == 0
    assert first["tokens"] == rollouts.completion_mask[0].sum()


def test_divergence_is_the_sum_over_the_completion_and_zero_from_oneself(
    rollout_worker, reference_worker, start, unit, learner
):
    rollouts = rollout_worker.summarize(unit, start[0])
    assert reference_worker.divergence(rollouts, start[0])["kl_k3"] == pytest.approx([0] * 4, abs=1e-5)
    shifted = replace(rollouts, logprobs=rollouts.logprobs + 0.1)
    expected = 0.1 * rollouts.completion_mask.sum(dim=1)
    assert reference_worker.divergence(shifted, start[0])["kl_k1"] == pytest.approx(expected.tolist(), abs=1e-4)
    per_token = kl_estimate("k3", shifted.logprobs, rollouts.logprobs)[0, 0].item()
    k3 = reference_worker.divergence(shifted, start[0])["kl_k3"]
    assert k3 == pytest.approx((expected * 10 * per_token).tolist(), rel=1e-2)


def test_greedy_takes_the_likeliest_token_whatever_the_seed(rollout_worker, start, unit):
    one, two = (rollout_worker.summarize(replace(unit, decoding=Greedy(), seed=seed), start[0]) for seed in (1, 2))
    assert one.texts == two.texts
    rollout_worker.policy.load(start[0])
    every = rollout_worker.policy(unit.prompt_ids, unit.prompt_mask, one.completion_ids).full
    mask = one.completion_mask
    assert (every.argmax(dim=-1) == one.completion_ids)[mask].all()
