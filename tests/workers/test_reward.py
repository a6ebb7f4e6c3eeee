"""The reward: which label, of which text."""

from dataclasses import replace
from types import SimpleNamespace

import evaluate
import pytest
import torch
from profanity_check import predict_prob
from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

from configs.evaluation import Classifier, Profanity
from tests.conftest import small_config
from workers.classifier import _max_length
from workers.judges import make_judge
from workers.labels import label_index
from workers.metrics import Toxicity
from workers.reward import RewardWorker

NICE, NASTY = "#Person1# thanks #Person2# for the help.", "#Person1# calls #Person2# a stupid idiot."


def test_reward_is_the_logit_of_the_named_label(reward_worker):
    """Bug 1: labels sorted by score made hateful text earn its own `hate` logit."""
    hate = RewardWorker(small_config(reward__label="hate"))
    texts = [NICE, NASTY]
    assert torch.equal(hate.classifier.logits(texts), reward_worker.classifier.logits(texts))
    nice, nasty = reward_worker.classifier.logits(texts)[:, reward_worker.classifier.label]
    assert nice > 0 > nasty
    assert (hate.classifier.logits(texts)[:, hate.classifier.label] - torch.tensor([nice, nasty])).abs().min() > 1


@pytest.mark.parametrize("order", [("nothate", "hate"), ("hate", "nothate")])
def test_label_is_found_by_name_wherever_it_stands(order):
    assert label_index(dict(enumerate(order)), "nothate") == order.index("nothate")


def test_a_missing_label_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"no single label 'kind'; it has nothate, hate"):
        label_index({0: "nothate", 1: "hate"}, "kind")


def test_scores_are_raw_logits_and_toxicity_the_rest_of_the_probability(reward_worker, rollout_worker, start, unit):
    rollouts = rollout_worker.summarize(unit, start[0])
    scores = reward_worker.score(rollouts)
    logits = reward_worker.classifier.logits(list(rollouts.texts))
    assert torch.equal(scores.scores, logits[:, reward_worker.classifier.label])
    torch.testing.assert_close(scores.toxicity, logits.softmax(1)[:, 1 - reward_worker.classifier.label])
    assert scores.key == unit.key


def test_the_probe_tells_nice_from_nasty_and_sees_a_reversed_sign(reward_worker):
    right, wrong = reward_worker.probe(), RewardWorker(small_config(reward__label="hate")).probe()
    assert right["better"] > right["worse"] and wrong["better"] < wrong["worse"]


def test_prompt_and_completion_are_cut_from_the_prompts_side():
    """Bug 9: dialogue and summary together crashed where they were too long."""
    worker = RewardWorker(small_config(reward__text="prompt+completion"))
    long = "we had tea and talked about the garden. " * 200
    classifier = worker.classifier
    nice, nasty = classifier.logits([long + NICE, long + NASTY], cut="left")[:, classifier.label]
    assert nice > nasty, "both are read"
    ids = classifier.tokenizer([long + NASTY], truncation=True, max_length=classifier.max_length)["input_ids"][0]
    assert len(ids) == classifier.max_length and classifier.tokenizer.decode(ids).rstrip("</s>").endswith("idiot.")


def test_labels_that_do_not_exclude_each_other_have_each_a_probability(reward_worker, rollout_worker, start, unit):
    worker = RewardWorker(small_config())
    worker.classifier.independent = True
    rollouts = rollout_worker.summarize(unit, start[0])
    scores = worker.score(rollouts)
    torch.testing.assert_close(scores.toxicity, 1 - scores.scores.sigmoid())


def test_the_weight_turns_the_probe_as_it_turns_the_reward():
    turned = RewardWorker(small_config(reward__label="hate", reward__weight=-1)).probe()
    assert turned["better"] > turned["worse"]


def test_a_model_without_a_limit_takes_texts_of_any_length(reward_worker):
    tokenizer = AutoTokenizer.from_pretrained(reward_worker.config.model, model_max_length=int(1e30))
    assert _max_length(SimpleNamespace(), tokenizer) is None
    assert _max_length(SimpleNamespace(max_position_embeddings=514), tokenizer) == 512
    assert reward_worker.classifier.max_length == 256


def test_an_empty_text_has_a_finite_score(reward_worker):
    assert reward_worker.classifier.logits([""]).isfinite().all()


def test_scores_do_not_depend_on_what_else_is_in_the_unit(reward_worker):
    together = reward_worker.classifier.logits([NICE, NASTY + " " + NASTY, ""])
    torch.testing.assert_close(together[0], reward_worker.classifier.logits([NICE])[0])


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
    assert worker.classifier.logits([NICE]).shape == (1, 1) and worker.classifier.label == 0


def test_what_is_watched_is_measured_beside_and_not_rewarded(reward_worker, rollout_worker, start, unit):
    rollouts = replace(
        rollout_worker.summarize(unit, start[0]), texts=(*(r[0] for r in unit.references[:3]), "you idiot")
    )
    scores = reward_worker.score(rollouts)
    assert scores.watched["rougeL"].tolist()[:3] == pytest.approx([100] * 3) and scores.watched["rougeL"][3] < 20
    assert scores.watched["second_judge"].tolist() == pytest.approx(predict_prob(list(rollouts.texts)).tolist())
    assert set(scores.parts) == {"classifier"}
    none = RewardWorker(small_config(evaluation__second_judge="null")).score(rollouts)
    assert set(none.watched) == {"rougeL"} and torch.equal(none.scores, scores.scores)


def test_a_judged_summary_has_all_its_figures(reward_worker, rollout_worker, start, unit):
    rollouts = replace(rollout_worker.summarize(unit, start[0]), texts=(NICE, NASTY, "", NICE))
    rows, classifier = reward_worker.judge(rollouts), reward_worker.classifier
    assert [row["row"] for row in rows] == list(unit.rows) and [row["text"] for row in rows] == [NICE, NASTY, "", NICE]
    assert rows[1]["toxicity"] > 0.9 > 0.1 > rows[0]["toxicity"]
    both = classifier.toxicity(classifier.logits([unit.prompts[0] + NICE], cut="left")).item()
    assert rows[0]["toxicity_with_prompt"] == pytest.approx(both, abs=1e-5)
    assert rows[0]["score"] == pytest.approx(classifier.logits([NICE])[0, classifier.label].item(), abs=1e-4)


def test_toxicity_is_a_measurement_of_evaluate_that_needs_no_network():
    judge = make_judge(Profanity(), torch.device("cpu"))
    measured = Toxicity(judge).compute(predictions=["you stupid idiot", "good morning"])
    assert measured["toxicity"][0] > 0.9 and measured["toxicity"][1] < 0.1
    assert isinstance(Toxicity(judge), evaluate.Measurement)


def test_any_classifier_can_be_the_second_judge(config, reward_worker):
    judge = make_judge(Classifier(model=config.reward.model, label="nothate", dtype="float32"), torch.device("cpu"))
    assert judge([NICE, NASTY]) == pytest.approx(reward_worker.classifier.judge([NICE, NASTY]))
