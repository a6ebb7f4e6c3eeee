"""Answers to people: each depends on its own question and adapter, whoever else is answered beside it."""

import json
import pickle
import shutil
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from cluster.plan import make_unit
from cluster.serving.deployment import summarizer_settings
from configs.decoding import Greedy, SamplingConfig
from configs.errors import UsageError
from learner.adapter import BASE
from tests.conftest import scorer_settings, settings_of, small_config
from tests.learner.test_lora import write_adapter
from workers.data.prompts import read_rows
from workers.inference.scorer import Scorer
from workers.inference.summarizer import Summarizer, SummaryRequest, TooLong
from workers.reward.items import Item
from workers.rollout.sampling import AnyDecoder
from workers.rollout.t5_decoder import T5Decoder
from workers.rollout.worker import RolloutWorker

TOKENS = 40
ROWS = range(12)
NASTY = "You are a stupid, worthless idiot."


@pytest.fixture(scope="module")
def settings():
    return small_config(rollout__max_new_tokens=TOKENS, policy__lora__r=4)


@pytest.fixture(scope="module")
def summarizer(settings):
    return Summarizer(summarizer_settings(settings))


@pytest.fixture(scope="module")
def worker(settings):
    return RolloutWorker(settings_of(settings, "rollout"))


@pytest.fixture(scope="module")
def state(worker):
    """Of a policy whose adapter adds nothing yet."""
    return worker.policy.state(0)


@pytest.fixture(scope="module")
def base(summarizer):
    return summarizer.read(BASE)


@pytest.fixture(scope="module")
def dialogues(settings):
    return [row.text for row in read_rows(settings.data, "validation")]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Folders of adapters that need more and more room."""
    shapes = [
        {"r": 2, "lora_alpha": 16, "target_modules": ["q"]},
        {"r": 16, "lora_alpha": 32, "target_modules": ["v", "k"]},
        {"r": 8, "lora_alpha": 8, "target_modules": ["o", "wi_0", "wo"], "use_rslora": True},
    ]
    folder = tmp_path_factory.mktemp("adapters")
    return [write_adapter(folder / str(seed), seed, **shape) for seed, shape in enumerate(shapes)]


@pytest.fixture(scope="module")
def scorer(settings):
    return Scorer(scorer_settings(settings))


def answers(summarizer, questions, adapter):
    return summarizer.summarize([summarizer.tokenize(question) for question in questions], adapter)


def generated(model, dialogues, settings):
    """The same by transformers' own decoding."""
    tokenizer = AutoTokenizer.from_pretrained(settings.policy.model)
    prompts = [settings.data.template.replace("{text}", text) for text in dialogues]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        ids = model.eval().generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=TOKENS)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_the_base_says_what_a_rollout_worker_says(summarizer, base, worker, state, prompts, dialogues):
    assert all(dialogues[row] in prompts[row].text for row in ROWS)
    unit = replace(make_unit(prompts, ROWS, (0, 0), seed=0), decoding=Greedy())
    expected = worker.summarize(unit, state).texts
    assert answers(summarizer, [SummaryRequest(dialogues[row]) for row in ROWS], base) == list(expected)


def test_an_answer_depends_on_its_own_question_only(summarizer, adapters, dialogues):
    """Greedy and sampled ones, in any company and order, with one dialogue several times."""
    adapter = summarizer.read(adapters[0])
    texts = [*dialogues[:10], *dialogues[:6], "", "x", dialogues[3]]
    mixed = [SummaryRequest(text, seed if seed % 3 else None) for seed, text in enumerate(texts)]
    alone = [answers(summarizer, [question], adapter)[0] for question in mixed]
    assert answers(summarizer, mixed, adapter) == alone
    assert answers(summarizer, mixed[::-1], adapter) == alone[::-1]
    assert answers(summarizer, mixed[4:7], adapter) == alone[4:7]


def test_each_request_samples_with_its_own_settings(summarizer, settings, base, dialogues):
    """Those of the run that trained the adapter, whatever is asked beside it."""
    formats = [
        replace(summarizer.settings.format, sampling=SamplingConfig(**sampling))
        for sampling in ({}, {"top_k": 1}, {"temperature": 2.0}, {"temperature": 2.0, "top_p": 0.5})
    ]
    asked = [SummaryRequest(dialogues[0], seed, format) for seed in (None, 7) for format in formats]
    alone = [answers(summarizer, [question], base)[0] for question in asked]
    assert answers(summarizer, asked, base) == alone
    greedy, drawn = alone[:4], alone[4:]
    assert set(greedy) == {drawn[1]}, "without a seed, and from one token, all are the likeliest"
    assert drawn[2] not in (drawn[1], drawn[3])
    assert summarizer_settings(small_config(rollout__top_p=0.5)).format.sampling == SamplingConfig(top_p=0.5)


def test_the_seed_decides_what_is_sampled(summarizer, base, dialogues):
    questions = [SummaryRequest(dialogues[0], seed) for seed in (None, None, 1, 1, 2, -1, 2**64 - 1, 2**70)]
    greedy, also, one, again, *others = answers(summarizer, questions, base)
    assert greedy == also and one == again
    assert len({greedy, one, *others}) > 3, "other seeds, other summaries"


def test_sampled_summaries_follow_the_policy(summarizer, base, worker, state, prompts, dialogues):
    """Some are rude, as often as those that training samples, within four standard errors."""
    count = 300
    trained = worker.summarize(make_unit(prompts, [2] * count, (0, 0), seed=5), state).texts
    asked = answers(summarizer, [SummaryRequest(dialogues[2], seed) for seed in range(count)], base)
    shares = [sum("dumb" in text for text in texts) / count for texts in (trained, asked)]
    assert 0.1 < shares[0] < 0.9
    assert abs(shares[0] - shares[1]) < 4 * (2 * shares[0] * (1 - shares[0]) / count) ** 0.5


@pytest.mark.parametrize("decoder", [T5Decoder, AnyDecoder])
def test_each_adapter_says_what_it_does_in_peft(settings, adapters, dialogues, monkeypatch, decoder):
    """Ranks and layers of all kinds in turn, on one base model that is read once."""
    if decoder is AnyDecoder:
        monkeypatch.setattr(T5Decoder, "of", lambda policy: None)
    summarizer, questions = Summarizer(summarizer_settings(settings)), [SummaryRequest(text) for text in dialogues[:8]]
    frozen = summarizer.policy.network.shared.weight
    expected = {BASE: generated(AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy"), dialogues[:8], settings)}
    for folder in adapters:
        model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy"), folder)
        expected[folder] = generated(model, dialogues[:8], settings)
    assert len({tuple(texts) for texts in expected.values()}) == len(adapters) + 1, "each says something else"
    narrow, wide, deep = adapters
    read = {folder: summarizer.read(folder) for folder in expected}
    for folder in (narrow, BASE, wide, narrow, deep, BASE, wide, deep, narrow):
        assert answers(summarizer, questions, read[folder]) == expected[folder], folder
        assert type(summarizer.decoder) is decoder
    assert summarizer.policy.network.shared.weight is frozen
    assert not [m for m in summarizer.policy.modules() if m.training]


def test_adapters_of_other_models_are_refused_and_leave_everything_as_it_was(summarizer, base, dialogues, tmp_path):
    sizes = {"vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    wide = T5ForConditionalGeneration(T5Config(**sizes))
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = BartForConditionalGeneration(BartConfig(vocab_size=100, d_model=16, **layers))
    room, questions = summarizer.largest, [SummaryRequest(text) for text in dialogues[:4]]
    before = answers(summarizer, questions, base)
    for name, model, modules in (("t5", wide, ["q"]), ("bart", bart, ["q_proj"]), ("embedding", wide, ["shared"])):
        folder = str(tmp_path / name)
        get_peft_model(model, LoraConfig(r=64, target_modules=modules)).save_pretrained(folder)
        with pytest.raises(UsageError, match=f"adapters: {folder}: .*quickstart/policy"):
            summarizer.read(folder)
    with pytest.raises(UsageError, match="cannot be loaded as an adapter"):
        summarizer.read(str(tmp_path))
    assert summarizer.largest is room
    assert answers(summarizer, questions, base) == before


def test_a_dialogue_that_is_too_long_is_told_with_its_length(settings, summarizer):
    tokenizer = AutoTokenizer.from_pretrained(settings.policy.model)
    limit, words = settings.data.max_prompt_tokens, ["word"]
    while len(tokenizer(settings.data.template.replace("{text}", " ".join(words)))["input_ids"]) <= limit:
        words.append("word")
    tokens = len(tokenizer(settings.data.template.replace("{text}", " ".join(words)))["input_ids"])
    with pytest.raises(TooLong, match=f"a prompt of {tokens} tokens; the limit is {limit}") as told:
        summarizer.tokenize(SummaryRequest(" ".join(words)))
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value), "also from another process"
    assert len(summarizer.tokenize(SummaryRequest(" ".join(words[:-1]))).ids) <= limit


def test_any_text_is_answered(summarizer, scorer, base):
    texts = ["", "😀", "a\0b", "\ud800", "\u202ereversed", "{text}", "</s><pad>", "?"]
    for seed in (None, 1):
        summaries = dict(zip(texts, answers(summarizer, [SummaryRequest(t, seed) for t in texts], base), strict=True))
        assert summaries["\ud800"] == summaries["?"], "half a pair cannot be anything else"
        assert "</s>" not in "".join(summaries.values())
    verdicts = dict(zip(texts, scorer.score(list(map(Item, texts))), strict=True))
    assert verdicts["\ud800"] == verdicts["?"] != verdicts[""]


def test_verdicts_are_the_models_own_by_the_names_of_its_labels(scorer):
    texts = ["Thank you so much.", NASTY, "", "we had tea and talked about the garden. " * 200]
    tokenizer = AutoTokenizer.from_pretrained("quickstart/reward")
    model = AutoModelForSequenceClassification.from_pretrained("quickstart/reward").eval()
    assert model.config.label2id == {"nothate": 0, "hate": 1}
    for text, verdict in zip(texts, scorer.score(list(map(Item, texts))), strict=True):
        with torch.no_grad():
            inputs = tokenizer(
                text,
                truncation=True,
                max_length=scorer.rewards.parts["classifier"].members[0].max_length,
                return_tensors="pt",
            )
            logits = model(**inputs).logits[0]
        probabilities = (logits.exp() / logits.exp().sum()).tolist()
        [labels] = verdict.labels["classifier"]
        assert verdict.total == verdict.parts["classifier"] == labels.logits["nothate"]
        assert labels.logits == pytest.approx({"nothate": logits[0].item(), "hate": logits[1].item()}, abs=1e-4)
        assert labels.probabilities == pytest.approx(
            dict(zip(["nothate", "hate"], probabilities, strict=True)), abs=1e-5
        )
        assert verdict.toxicity == pytest.approx(probabilities[1], abs=1e-5)
    assert scorer.score([Item(NASTY)])[0].toxicity > 0.9


def test_labels_that_do_not_exclude_each_other_have_each_a_probability_of_its_own(scorer, tmp_path):
    shutil.copytree("quickstart/reward", tmp_path / "reward")
    path = tmp_path / "reward/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_type": "multi_label_classification"}))
    multi = Scorer(scorer_settings(small_config(reward__parts__classifier__model=tmp_path / "reward")))
    [verdict], [other] = multi.score([Item(NASTY)]), scorer.score([Item(NASTY)])
    [labels] = verdict.labels["classifier"]
    assert labels.logits == other.labels["classifier"][0].logits
    expected = {name: 1 / (1 + 2.718281828**-logit) for name, logit in labels.logits.items()}
    assert labels.probabilities == pytest.approx(expected, abs=1e-5)
    assert verdict.toxicity == pytest.approx(1 - expected["nothate"], abs=1e-5)


def test_a_bad_label_gives_the_same_toxicity(scorer):
    """An insult had P(toxic) 0.975 and toxicity 0.025."""
    turned = Scorer(
        scorer_settings(
            small_config(reward__parts__classifier__label="hate", reward__parts__classifier__label_is="bad")
        )
    )
    for text in (NASTY, "Thank you so much."):
        [verdict], [expected] = turned.score([Item(text)]), scorer.score([Item(text)])
        assert verdict.toxicity == pytest.approx(expected.toxicity, abs=1e-6)
        assert verdict.labels == expected.labels
    assert turned.score([Item(NASTY)])[0].toxicity > 0.9
    with pytest.raises(UsageError, match=r"reward.parts.classifier.label_is: .*better .* label 'hate'"):
        Scorer(scorer_settings(small_config(reward__parts__classifier__label="hate")))
