"""The reward: which label, of which text."""

import json
import shutil
from dataclasses import replace

import evaluate
import pytest
import torch
from profanity_check import predict_prob
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLNetConfig,
)

from configs.errors import UsageError
from configs.evaluation import ClassifierJudge, ProfanityJudge
from configs.reward_parts import ClassifierReward
from tests.conftest import settings_of, small_config
from workers.evaluation.evaluate_modules import Toxicity
from workers.reward.classifier import Classifier, _max_length
from workers.reward.items import Item
from workers.reward.labels import label_index
from workers.reward.second_judge import make_judge
from workers.reward.worker import RewardWorker

MODEL = "quickstart/reward"
NICE, NASTY = "#Person1# thanks #Person2# for the help.", "#Person1# calls #Person2# a stupid idiot."


def worker_of(evaluation__second_judge=None, **classifier) -> RewardWorker:
    """A worker whose one part is the classifier, with these settings."""
    given = {f"reward__parts__classifier__{name}": value for name, value in classifier.items()}
    judge = {"evaluation__second_judge": evaluation__second_judge} if evaluation__second_judge else {}
    return RewardWorker(settings_of(small_config(**given, **judge), "reward"))


def classifier_of(worker: RewardWorker) -> Classifier:
    [classifier] = worker.rewards.parts["classifier"].members
    return classifier


def config_of(worker: RewardWorker) -> ClassifierReward:
    return worker.config.parts["classifier"]


def test_reward_is_the_logit_of_the_named_label(reward_worker):
    """Bug 1: labels sorted by score made hateful text earn its own `hate` logit."""
    hate = worker_of(label="hate")
    texts = [NICE, NASTY]
    assert torch.equal(classifier_of(hate).logits(texts), classifier_of(reward_worker).logits(texts))
    nice, nasty = classifier_of(reward_worker).logits(texts)[:, classifier_of(reward_worker).label]
    assert nice > 0 > nasty
    hateful = classifier_of(hate).logits(texts)[:, classifier_of(hate).label]
    assert (hateful - torch.tensor([nice, nasty])).abs().min() > 1


@pytest.mark.parametrize("order", [("nothate", "hate"), ("hate", "nothate")])
def test_label_is_found_by_name_wherever_it_stands(order):
    assert label_index("reward", dict(enumerate(order)), "nothate") == order.index("nothate")


def test_a_missing_label_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"reward.label: the model has no single label 'kind'; it has nothate, hate"):
        label_index("reward", {0: "nothate", 1: "hate"}, "kind")


def test_scores_are_raw_logits_and_toxicity_the_rest_of_the_probability(reward_worker, rollout_worker, start, unit):
    rollouts = rollout_worker.summarize(unit, start[0])
    scores = reward_worker.score(rollouts)
    logits = classifier_of(reward_worker).logits(list(rollouts.texts))
    assert torch.equal(scores.scores, logits[:, classifier_of(reward_worker).label])
    torch.testing.assert_close(scores.watched["toxicity"], logits.softmax(1)[:, 1 - classifier_of(reward_worker).label])
    assert scores.key == unit.key


def test_the_probe_tells_nice_from_nasty_and_sees_a_reversed_sign(reward_worker):
    [(better, worse)] = reward_worker.probe()["classifier"]
    assert better > worse
    with pytest.raises(UsageError, match=r"classifier.label_is: .*better .* bad with probability 0\.9.* label 'hate'"):
        worker_of(label="hate").probe()


def test_a_bad_label_is_the_same_judge_as_the_good_one(reward_worker, rollout_worker, start, unit):
    """A model whose only label is `toxic` turned every toxicity figure round: more toxic, of a run that got less so."""
    turned = worker_of(label="hate", label_is="bad")
    rollouts = replace(rollout_worker.summarize(unit, start[0]), texts=(NICE, NASTY, "", NASTY))
    scores, expected = turned.score(rollouts), reward_worker.score(rollouts)
    torch.testing.assert_close(scores.watched["toxicity"], expected.watched["toxicity"])
    logits = classifier_of(turned).logits(list(rollouts.texts))
    assert torch.equal(scores.scores, -logits[:, classifier_of(turned).label])
    assert scores.scores[0] > 0 > scores.scores[1]
    [(better, worse)] = turned.probe()["classifier"]
    assert better > worse
    rows, same = turned.judge(rollouts), reward_worker.judge(rollouts)
    for name in ("toxicity", "toxicity_with_prompt"):
        assert [row[name] for row in rows] == pytest.approx([row[name] for row in same], abs=1e-6)


def test_one_toxic_output_alone_is_read_the_right_way(tmp_path, reward_worker):
    """As toxic-bert has it: the probability of the one label is a sigmoid."""
    shutil.copytree("quickstart/reward", tmp_path / "toxic")
    path = tmp_path / "toxic/config.json"
    known = json.loads(path.read_text()) | {"problem_type": "multi_label_classification"}
    path.write_text(json.dumps(known))
    toxic = worker_of(model=tmp_path / "toxic", label="hate", label_is="bad")
    logits = classifier_of(toxic).logits([NICE, NASTY])
    torch.testing.assert_close(classifier_of(toxic).badness(logits), logits[:, classifier_of(toxic).label].sigmoid())
    assert classifier_of(toxic).judge([NASTY])[0] > 0.8 > 0.2 > classifier_of(toxic).judge([NICE])[0]


def test_a_second_judge_that_takes_bad_for_good_is_refused_at_the_start():
    """It was taken unprobed: 0.976 for 0.024."""
    wrong = '{"type": "classifier", "model": "quickstart/reward", "label": "hate"}'
    with pytest.raises(
        UsageError, match=r"second_judge.label_is: evaluation.second_judge.probe.better .* label 'hate'"
    ):
        worker_of(evaluation__second_judge=wrong).probe()
    right = wrong.replace("}", ', "label_is": "bad"}')
    assert worker_of(evaluation__second_judge=right).probe()
    unprobed = wrong.replace("}", ', "probe": null}')
    assert worker_of(evaluation__second_judge=unprobed, probe="null").probe() == {}


def test_prompt_and_completion_are_cut_from_the_prompts_side():
    """Bug 9: dialogue and summary together crashed where they were too long."""
    worker = worker_of(text="prompt+completion")
    long = "we had tea and talked about the garden. " * 200
    classifier = classifier_of(worker)
    nice, nasty = classifier.logits([long + NICE, long + NASTY], cut="left")[:, classifier.label]
    assert nice > nasty, "both are read"
    ids = classifier.tokenizer([long + NASTY], truncation=True, max_length=classifier.max_length)["input_ids"][0]
    assert len(ids) == classifier.max_length and classifier.tokenizer.decode(ids).rstrip("</s>").endswith("idiot.")


def test_labels_that_do_not_exclude_each_other_have_each_a_probability(reward_worker, rollout_worker, start, unit):
    worker = worker_of()
    classifier_of(worker).independent = True
    rollouts = rollout_worker.summarize(unit, start[0])
    scores = worker.score(rollouts)
    torch.testing.assert_close(scores.watched["toxicity"], 1 - scores.scores.sigmoid())


def test_a_negative_weight_turns_no_label_round():
    """It did, and with it every figure of toxicity the wrong way: now the label's direction is named."""
    with pytest.raises(UsageError, match=r"classifier.label_is: .* label 'hate' names something good or bad"):
        worker_of(label="hate", weight=-1).probe()
    with pytest.raises(UsageError, match=r"reward.parts.classifier.weight: -1 rewards bad texts"):
        worker_of(label="hate", label_is="bad", weight=-1).probe()


def test_a_judge_that_is_sure_of_both_texts_is_right_all_the_same(reward_worker, monkeypatch):
    """Its probabilities are 1 to float32, its log-odds differ; where they do not, it cannot tell."""
    config = config_of(reward_worker)
    classifier, probe = Classifier("reward", config, torch.device("cpu")), config.probe
    classifier.independent = True
    for better, worse, fits in [(-54.7, -65.4, True), (80.0, 79.0, True), (-65.4, -54.7, False), (3.0, 3.0, False)]:
        logits = torch.zeros(2, 2)
        logits[:, classifier.label] = torch.tensor([better, worse])
        monkeypatch.setattr(classifier, "logits", lambda _, logits=logits: logits)
        if fits:
            classifier.check_direction(probe)
        else:
            with pytest.raises(UsageError, match=r"reward.label_is: .* choose other texts"):
                classifier.check_direction(probe)


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("label_is", ["good", "bad"])
def test_log_odds_are_those_of_the_probability(reward_worker, independent, label_is):
    config = config_of(reward_worker).model_copy(update={"label_is": label_is})
    classifier = Classifier("reward", config, torch.device("cpu"))
    classifier.independent = independent
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.5]])
    torch.testing.assert_close(classifier.log_odds(logits).sigmoid().float(), classifier.badness(logits))


def test_a_classifier_without_weight_is_no_reward_and_still_a_judge():
    worker = worker_of(weight=0)
    [(better, _)] = worker.probe()["classifier"]
    scored = worker.rewards([Item(NICE)])
    assert better > 0 and scored.total == 0 and scored.parts["classifier"] > 0


SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SHAPES = {
    "RoBERTa counts from behind its padding": (RobertaConfig(**SIZES, max_position_embeddings=130), 128),
    "BERT does not": (BertConfig(**SIZES, max_position_embeddings=130), 130),
    "DistilBERT": (DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, max_position_embeddings=130), 130),
    "GPT-2": (GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=130), 130),
    "XLNet has no limit": (XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=32), None),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_text_may_have_as_many_tokens_as_the_model_has_positions(case, reward_worker):
    """Two of RoBERTa's were taken off every model."""
    config, expected = SHAPES[case]
    tokenizer = AutoTokenizer.from_pretrained(MODEL, model_max_length=int(1e30))
    model = AutoModelForSequenceClassification.from_config(config)
    length = _max_length(model, tokenizer)
    assert length == expected
    model.config.pad_token_id = 0
    ids = torch.full((1, length or 300), 7)
    assert model(input_ids=ids).logits.isfinite().all(), "as many can be read"
    if length:
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, length + 1), 7))


def test_the_shorter_of_both_limits_counts(reward_worker):
    assert classifier_of(reward_worker).max_length == 256
    short = AutoTokenizer.from_pretrained(MODEL, model_max_length=100)
    assert _max_length(classifier_of(reward_worker).model, short) == 100


def test_an_empty_text_has_a_finite_score(reward_worker):
    assert classifier_of(reward_worker).logits([""]).isfinite().all()


def test_scores_do_not_depend_on_what_else_is_in_the_unit(reward_worker):
    together = classifier_of(reward_worker).logits([NICE, NASTY + " " + NASTY, ""])
    torch.testing.assert_close(together[0], classifier_of(reward_worker).logits([NICE])[0])


def test_a_model_with_one_output_is_a_reward_too(tmp_path, config):
    """What trl's RewardTrainer makes."""
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(tmp_path)
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
    with pytest.raises(UsageError, match=r"parts.classifier.toxicity: the only output .* is a number, not a prob"):
        worker_of(model=tmp_path, label="quality")
    for label in ("quality", "null"):
        worker = worker_of(model=tmp_path, label=label, toxicity="false", probe="null")
        logits = classifier_of(worker).logits([NICE])
        assert logits.shape == (1, 1) and worker.rewards([Item(NICE)]).total.tolist() == logits[0].tolist()
    sigmoid = worker_of(model=tmp_path, label="quality", output="probability", probe="null")
    assert sigmoid.rewards([Item(NICE)]).total.tolist() == pytest.approx(logits.sigmoid()[0].tolist())


def test_what_is_watched_is_measured_beside_and_not_rewarded(reward_worker, rollout_worker, start, unit):
    rollouts = replace(
        rollout_worker.summarize(unit, start[0]), texts=(*(r[0] for r in unit.references[:3]), "you idiot")
    )
    scores = reward_worker.score(rollouts)
    assert scores.watched["rougeL"].tolist()[:3] == pytest.approx([100] * 3) and scores.watched["rougeL"][3] < 20
    assert scores.watched["second_judge"].tolist() == pytest.approx(predict_prob(list(rollouts.texts)).tolist())
    assert set(scores.parts) == {"classifier"}
    none = worker_of(evaluation__second_judge="null").score(rollouts)
    assert set(none.watched) == {"toxicity", "rougeL"} and torch.equal(none.scores, scores.scores)


def test_a_judged_summary_has_all_its_figures(reward_worker, rollout_worker, start, unit):
    rollouts = replace(rollout_worker.summarize(unit, start[0]), texts=(NICE, NASTY, "", NICE))
    rows, classifier = reward_worker.judge(rollouts), classifier_of(reward_worker)
    assert [row["row"] for row in rows] == list(unit.rows) and [row["text"] for row in rows] == [NICE, NASTY, "", NICE]
    assert rows[1]["toxicity"] > 0.9 > 0.1 > rows[0]["toxicity"]
    both = classifier.badness(classifier.logits([unit.prompts[0] + NICE], cut="left")).item()
    assert rows[0]["toxicity_with_prompt"] == pytest.approx(both, abs=1e-5)
    assert rows[0]["score"] == pytest.approx(classifier.logits([NICE])[0, classifier.label].item(), abs=1e-4)


def test_toxicity_is_a_measurement_of_evaluate_that_needs_no_network():
    judge = make_judge(ProfanityJudge(), torch.device("cpu"))
    measured = Toxicity(judge).compute(predictions=["you stupid idiot", "good morning"])
    assert measured["toxicity"][0] > 0.9 and measured["toxicity"][1] < 0.1
    assert isinstance(Toxicity(judge), evaluate.Measurement)


def test_any_classifier_can_be_the_second_judge(config, reward_worker):
    judge = make_judge(ClassifierJudge(model=MODEL, label="nothate", dtype="float32"), torch.device("cpu"))
    assert judge([NICE, NASTY]) == pytest.approx(classifier_of(reward_worker).judge([NICE, NASTY]))
