"""The reward: which label, of which text."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

from tests.conftest import small_config
from workers.labels import label_index
from workers.reward import RewardWorker, _max_length

NICE, NASTY = "#Person1# thanks #Person2# for the help.", "#Person1# calls #Person2# a stupid idiot."


def test_reward_is_the_logit_of_the_named_label(reward_worker):
    """Bug 1: labels sorted by score made hateful text earn its own `hate` logit."""
    hate = RewardWorker(small_config(reward__label="hate"))
    texts = [NICE, NASTY]
    assert torch.equal(hate.logits(texts), reward_worker.logits(texts))
    nice, nasty = reward_worker.logits(texts)[:, reward_worker.label]
    assert nice > 0 > nasty
    assert (hate.logits(texts)[:, hate.label] - torch.tensor([nice, nasty])).abs().min() > 1


@pytest.mark.parametrize("order", [("nothate", "hate"), ("hate", "nothate")])
def test_label_is_found_by_name_wherever_it_stands(order):
    assert label_index(dict(enumerate(order)), "nothate") == order.index("nothate")


def test_a_missing_label_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"no single label 'kind'; it has nothate, hate"):
        label_index({0: "nothate", 1: "hate"}, "kind")


def test_scores_are_raw_logits_and_toxicity_the_rest_of_the_probability(reward_worker, rollout_worker, start, unit):
    rollouts = rollout_worker.generate(unit, start[0])
    scores = reward_worker.score(rollouts)
    logits = reward_worker.logits(list(rollouts.texts))
    assert torch.equal(scores.scores, logits[:, reward_worker.label])
    torch.testing.assert_close(scores.toxicity, logits.softmax(1)[:, 1 - reward_worker.label])
    assert scores.key == unit.key


def test_the_probe_tells_nice_from_nasty_and_sees_a_reversed_sign(reward_worker):
    right, wrong = reward_worker.probe(), RewardWorker(small_config(reward__label="hate")).probe()
    assert right["better"] > right["worse"] and wrong["better"] < wrong["worse"]


def test_prompt_and_completion_are_cut_from_the_prompts_side():
    """Bug 9: dialogue and summary together crashed where they were too long."""
    worker = RewardWorker(small_config(reward__text="prompt+completion"))
    long = "we had tea and talked about the garden. " * 200
    assert worker.logits([long + NICE])[0, worker.label] > worker.logits([long + NASTY])[0, worker.label], (
        "both are read"
    )
    ids = worker.tokenizer([long + NASTY], truncation=True, max_length=worker.max_length)["input_ids"][0]
    assert len(ids) == worker.max_length and worker.tokenizer.decode(ids).rstrip("</s>").endswith("idiot.")


def test_labels_that_do_not_exclude_each_other_have_each_a_probability(reward_worker, rollout_worker, start, unit):
    worker = RewardWorker(small_config())
    worker.independent = True
    rollouts = rollout_worker.generate(unit, start[0])
    scores = worker.score(rollouts)
    torch.testing.assert_close(scores.toxicity, 1 - scores.scores.sigmoid())


def test_the_weight_turns_the_probe_as_it_turns_the_reward():
    turned = RewardWorker(small_config(reward__label="hate", reward__weight=-1)).probe()
    assert turned["better"] > turned["worse"]


def test_a_model_without_a_limit_takes_texts_of_any_length(reward_worker):
    tokenizer = AutoTokenizer.from_pretrained(reward_worker.config.model, model_max_length=int(1e30))
    assert _max_length(SimpleNamespace(), tokenizer) is None
    assert _max_length(SimpleNamespace(max_position_embeddings=514), tokenizer) == 512
    assert reward_worker.max_length == 256


def test_an_empty_text_has_a_finite_score(reward_worker):
    assert reward_worker.logits([""]).isfinite().all()


def test_scores_do_not_depend_on_what_else_is_in_the_unit(reward_worker):
    together = reward_worker.logits([NICE, NASTY + " " + NASTY, ""])
    torch.testing.assert_close(together[0], reward_worker.logits([NICE])[0])


def test_a_model_with_one_output_is_a_reward_too(tmp_path, config):
    """What trl's RewardTrainer makes."""
    AutoTokenizer.from_pretrained(config.reward.model).save_pretrained(tmp_path)
    size = len(AutoTokenizer.from_pretrained(tmp_path))
    torch.manual_seed(0)
    RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=size,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=130,
            pad_token_id=1,
            num_labels=1,
            id2label={0: "quality"},
        )
    ).save_pretrained(tmp_path)
    worker = RewardWorker(small_config(reward__model=tmp_path, reward__label="quality"))
    assert worker.logits([NICE]).shape == (1, 1) and worker.label == 0
