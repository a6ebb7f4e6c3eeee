"""Each part of a reward gives the number that it should, and says what it cannot do."""

import math

import pytest
import sacrebleu
import torch
from rouge_score import rouge_scorer

from configs.errors import UsageError
from tests.workers.rewards import MODEL, function, part, reward, tiny_classifier
from workers.reward.function import FunctionScorer
from workers.reward.items import Item, MissingColumn
from workers.reward.texts import TextScorer

CAT, DOG = Item("the cat sat down", references=("the cat sat", "a cat sits down")), Item("a dog", references=("no",))
BY_HAND = {
    "half of the words": ({"type": "length", "words": 8}, [-0.5, -0.75]),
    "a word": ({"type": "regex", "pattern": "^the|dogs"}, [1, 0]),
    "no word": ({"type": "regex", "pattern": "cat", "absent": True}, [0, 1]),
    "as it should be": ({"type": "exact"}, [0, 0]),
    "ROUGE-1 of the best reference": ({"type": "rouge", "variant": "rouge1"}, [6 / 7, 0]),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_rules_match_hand_computed(case):
    settings, expected = BY_HAND[case]
    assert list(reward(**settings)([CAT, DOG])) == pytest.approx(expected)


def test_exact_ignores_what_it_is_told_to():
    items = [Item(" Yes\n", references=("no", "Yes")), Item("yes", references=("Yes",)), Item("", references=())]
    assert reward(type="exact")(items) == [1, 0, 0]
    assert reward(type="exact", ignore_case=True)(items) == [1, 1, 0]


def test_overlap_is_that_of_the_libraries():
    chrf, plus = (reward(type="chrf", word_order=order)([CAT, DOG]) for order in (0, 2))
    bleu = reward(type="bleu", tokenize="char")([CAT, DOG])
    for i, item in enumerate((CAT, DOG)):
        text, references = item.completion, list(item.references)
        assert chrf[i] == pytest.approx(sacrebleu.sentence_chrf(text, references).score / 100)
        assert plus[i] == pytest.approx(sacrebleu.sentence_chrf(text, references, word_order=2).score / 100)
        expected = sacrebleu.sentence_bleu(text, references, tokenize="char", use_effective_order=True)
        assert bleu[i] == pytest.approx(expected.score / 100)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    best = max(scorer.score(ref, CAT.completion)["rougeL"].fmeasure for ref in CAT.references)
    assert reward(type="rouge")([CAT]) == [pytest.approx(best)]


@pytest.mark.parametrize("kind", ["rouge", "chrf", "bleu"])
def test_without_a_reference_there_is_no_score(kind):
    [value, other] = reward(type=kind)([Item("a text"), CAT])
    assert isinstance(value, ValueError) and isinstance(other, float)


def test_a_function_of_trl_gets_what_trl_gives_it():
    """Prompts, completions, the completions' tokens, and each column of the data as a list, all by name."""
    items = [Item("it is 4", "2+2?", row={"answer": "4"}), Item("it is 5", "2+2?", row={"answer": "4"})]
    assert reward(**function("answers"))(items) == [1.0, None]
    asynchronous = reward(**function("slow_answers"))
    assert asynchronous(items) == asynchronous(items) == [1.0, None], "one loop for all calls"
    assert reward(**function("told"))(items) == [5.0, 5.0], "prompts, completions, references, completion_ids, answer"


def test_a_function_without_kwargs_gets_the_arguments_that_it_names():
    items = [Item("thanks a lot", row={"answer": "4"}), Item("no")]
    assert reward(**function("nice"))(items) == [1, 0]
    missing = FunctionScorer("f", "tests.workers.rewards:answers").missing
    assert missing({"question": 1}) == ["answer"] and missing({"answer": 1}) == []


def test_items_that_make_a_function_fail_are_found():
    items = [Item("thanks a lot"), Item("you idiot b"), Item("")]
    values = reward(**function("picky"))(items)
    assert values[0] == values[2] == 2.0 and str(values[1]) == "rude!"
    values = reward(**function("short"))(items)
    assert [str(value) for value in values] == ["2 scores for 3 completions"] * 3, "none fails alone: all do"
    assert math.isnan(reward(**function("undefined"))(items)[1])


@pytest.mark.parametrize("path", ["tests.workers.rewards:none", "tests.workers.rewards:CPU", "no.such:thing"])
def test_a_function_that_is_not_there_is_named(path):
    with pytest.raises(UsageError, match=rf"reward\.parts\.mine\.function: .*{path}"):
        reward(type="function", function=path)


METRIC = """
import datasets
import evaluate

class Metric(evaluate.Metric):
    def _info(self):
        text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features({features}))

    def _compute(self, predictions, {arguments}):
        {body}
"""


def metric(folder, name, features, arguments, body):
    (folder / name).mkdir()
    text = METRIC.format(features=features, arguments=arguments, body=body)
    (folder / name / f"{name}.py").write_text(text)
    return {"type": "metric", "metric": str(folder / name), "score": "wrong"}


def test_a_metric_of_evaluate_scores_each_completion(tmp_path, monkeypatch):
    """One number for all that it is given, several references of which it takes one: both are no figure of a text."""
    body = 'return {"wrong": sum(p != r for p, r in zip(predictions, references)) / len(predictions)}'
    one = metric(tmp_path, "share_wrong", '{"predictions": text, "references": text}', "references", body)
    items = [Item("a", references=("b", "a")), Item("a", references=("b", "c")), Item("x", references=("x",))]
    assert reward(**one, better="lower")(items) == [0, -1, 0], "of several references the best counts"
    assert reward(**one)(items) == [1, 1, 0]
    body = 'return {"wrong": [len(set(r) - {p}) + len(s) for p, r, s in zip(predictions, references, sources)]}'
    features = '{"predictions": text, "references": texts, "sources": text}'
    several = metric(tmp_path, "number_wrong", features, "references, sources", body)
    items = [Item("a", "abc", ("b", "a"), {"text": "z"}), Item("a", "", ("b", "c"), {"text": ""})]
    assert reward(**several)(items) == [4, 2]
    assert reward(**several, source="text")(items) == [2, 2]
    with pytest.raises(MissingColumn, match="no column 'article'; it has text"):
        reward(**several, source="article")(items)
    assert isinstance(reward(**{**several, "score": "f1"})(items)[0], KeyError)


def test_a_metric_that_fails_for_one_text_fails_for_it_alone(tmp_path):
    body = 'return {"wrong": [1 / len(p) for p in predictions]}'
    inverse = metric(tmp_path, "inverse", '{"predictions": text}', "", body)
    values = reward(**inverse)([Item("ab"), Item("")])
    assert values[0] == 0.5 and isinstance(values[1], ZeroDivisionError)


def test_an_ensemble_is_as_good_as_its_members_agree(tmp_path):
    members = [
        {"model": tiny_classifier(tmp_path / str(i), seed=i), "label": "LABEL_0", "probe": None, "dtype": "float32"}
        for i in range(3)
    ]
    items = [Item("thank you"), Item("you idiot"), Item("")]
    each = torch.tensor([reward(type="classifier", **member)(items) for member in members])
    found = torch.tensor(reward(type="ensemble", members=members, std_coef=2.0)(items))
    torch.testing.assert_close(found, each.mean(0) - 2 * each.std(0, correction=0))
    assert (found < each.mean(0)).all()
    turned = [{**members[0], "label": "LABEL_1"}, {**members[0], "label": "LABEL_0"}]
    badness = reward(type="ensemble", members=turned, toxicity=True).read_items(items).badness
    torch.testing.assert_close(badness, torch.full((3,), 0.5)), "the mean of P and 1 - P"


def test_a_probability_is_that_of_a_good_text(tmp_path):
    items = [Item("thank you"), Item("you idiot")]
    [nice, nasty] = reward(type="classifier", model=MODEL, label="nothate", output="probability")(items)
    assert 1 > nice > 0.7 > 0.3 > nasty > 0
    turned = reward(type="classifier", model=MODEL, label="hate", label_is="bad", output="probability")(items)
    assert turned == pytest.approx([nice, nasty], abs=1e-6)


def test_regression_heads_are_read_by_their_raw_output(tmp_path):
    folder = tiny_classifier(tmp_path, num_labels=2, problem_type="regression")
    scorer = reward(type="classifier", model=folder, label="LABEL_1", probe=None)
    reading = scorer.read_items([Item("thank you")])
    assert isinstance(scorer, TextScorer) and reading.scores == reading.logits[0][:, 1]
    assert not scorer.members[0].has_probability


def test_batches_change_no_score():
    items = [Item("thank you"), Item("you idiot " * 20), Item("we had tea"), Item("")]
    whole, single = (reward(type="classifier", model=MODEL, label="nothate", batch_size=n)(items) for n in (None, 1))
    assert whole == pytest.approx(single, abs=1e-5)


def test_a_pair_is_read_as_two_texts(tmp_path):
    folder = tiny_classifier(tmp_path, num_labels=3, id2label={0: "neutral", 1: "entailment", 2: "contradiction"})
    settings = {"type": "pair", "model": folder, "label": "entailment"}
    item = Item("it rained", "It rained all day.", ("rain",), {"dialogue": "It is raining."})
    scorer = reward(**settings)
    tokenizer, model = scorer.tokenizer, scorer.classifier.model
    for source, text in [("prompt", item.prompt), ("dialogue", "It is raining."), ("reference", "rain")]:
        with torch.no_grad():
            expected = model(**tokenizer(text, item.completion, return_tensors="pt")).logits[0]
        assert reward(**settings, source=source)([item]) == [pytest.approx(expected[1].item(), abs=1e-5)]
        [share] = reward(**settings, source=source, output="probability")([item])
        assert share == pytest.approx(expected.softmax(0)[1].item(), abs=1e-5)
    with pytest.raises(MissingColumn):
        reward(**settings, source="article")([item])
    best = max(reward(**settings, source="prompt")([Item("it rained", text)])[0] for text in ("a", "b"))
    assert reward(**settings, source="reference")([Item("it rained", references=("a", "b"))]) == [pytest.approx(best)]
    [value] = reward(**settings, source="reference")([Item("it rained")])
    assert isinstance(value, ValueError)


def test_a_long_source_is_read_in_windows_to_its_end(tmp_path):
    """What is decisive may stand anywhere: windows overlap, and each is as long as the model allows."""
    folder = tiny_classifier(tmp_path, num_labels=1)
    words = " ".join(f"word{i}" for i in range(100))
    item, short = Item("it rained", words), Item("it rained", "it did")
    highest, mean = (reward(type="pair", model=folder, windows=name) for name in ("max", "mean"))
    inputs = highest.tokenizer([words], ["it rained"], **highest._windows())
    assert {len(ids) for ids in inputs["input_ids"][:-1]} == {62} and len(inputs["input_ids"]) > 5
    read = " ".join(highest.tokenizer.decode(ids) for ids in inputs["input_ids"])
    assert all(f"word{i}" in read for i in range(100)) and read.count("it rained") == len(inputs["input_ids"])
    scores = highest.classifier.read({k: v for k, v in inputs.items() if k != "overflow_to_sample_mapping"})[:, 0]
    assert highest([short, item])[1] == pytest.approx(scores.max().item(), abs=1e-5)
    assert mean([short, item])[1] == pytest.approx(scores.mean().item(), abs=1e-5)
    assert mean([short, item])[0] == pytest.approx(mean([short])[0], abs=1e-5)
    endless = Item(words, words)
    assert highest([endless]) == highest([Item(f"{words} and more", words)]), "half of the model's length counts"


def test_the_first_word_of_a_kind_names_its_setting():
    assert part(type="http", url="http://localhost:1/scores").retries == 3
