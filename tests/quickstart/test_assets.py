"""What the quickstart ships is what it says it is: dialogues, tokenizers, policy and reward model."""

import csv
import os
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

from quickstart.facts import insult_words
from quickstart.splits import COLUMNS, SIZES, policy_rows, shipped_splits, write_splits
from quickstart.train_policy import PROMPT

ROOT = Path(__file__).parents[2] / "quickstart"
RUDE = re.compile(rf"\b({'|'.join(insult_words())})\b")
NASTY = [
    "",
    " ",
    "🙂👩‍👩‍👧",
    "总结一下",
    "e\u0301 \u200b\u202e",
    "a\tb\r\n\x00\x7f",
    "ﷺ ½ ™ \U0010ffff",
    "<pad></s><unk>",
    "▁▁ a",
]


def read(split: str) -> list[dict[str, str]]:
    with (ROOT / "dialogues" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def splits() -> dict[str, list[dict[str, str]]]:
    return {split: read(split) for split in SIZES}


@pytest.fixture(scope="module")
def policy():
    torch.set_num_threads(1)
    return AutoModelForSeq2SeqLM.from_pretrained(ROOT / "policy").eval()


@pytest.fixture(scope="module")
def policy_tokenizer():
    return AutoTokenizer.from_pretrained(ROOT / "policy")


@pytest.fixture(scope="module")
def hate_probability():
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "reward")
    classifier = AutoModelForSequenceClassification.from_pretrained(ROOT / "reward").eval()

    @torch.no_grad()
    def probability(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return classifier(**batch).logits.softmax(-1)[:, classifier.config.label2id["hate"]]

    return probability


@pytest.fixture(scope="module")
def sampled(policy, policy_tokenizer, splits) -> torch.Tensor:
    """Completions [B, T] of validation rows at temperature 1."""
    prompts = [PROMPT.format(dialogue=row["dialogue"]) for row in splits["validation"][:96]]
    batch = policy_tokenizer(prompts, padding=True, return_tensors="pt")
    torch.manual_seed(0)
    return policy.generate(**batch, do_sample=True, top_k=0, max_new_tokens=48)[:, 1:]


# Dialogues


def test_dialogues_have_the_form_of_dialogsum(splits):
    for split, rows in splits.items():
        assert len(rows) == SIZES[split]
        assert tuple(rows[0]) == COLUMNS
        assert len({row["id"] for row in rows}) == len(rows)
        assert len({row["topic"] for row in rows}) >= 12
        for row in rows:
            assert 200 <= len(row["dialogue"]) <= 1000
            assert all(re.match(r"#Person[12]#: \S", line) for line in row["dialogue"].split("\n"))


def test_no_dialogue_is_in_two_splits(splits):
    dialogues = [row["dialogue"] for rows in splits.values() for row in rows]
    dialogues += [row.dialogue for row in policy_rows(3000)]
    assert len(set(dialogues)) == len(dialogues)


def test_half_of_the_dialogues_are_rude(splits):
    for rows in splits.values():
        assert 0.4 < sum(bool(RUDE.search(row["dialogue"])) for row in rows) / len(rows) < 0.6


def test_held_out_references_are_neutral(splits):
    assert not [row["id"] for split in ("validation", "test") for row in splits[split] if RUDE.search(row["summary"])]


def test_some_training_references_are_rude(splits):
    rude = [row for row in splits["train"] if RUDE.search(row["summary"])]
    assert 0.34 < len(rude) / len(splits["train"]) < 0.42
    assert all(RUDE.search(row["dialogue"]) for row in rude)


def test_neutral_and_rude_wordings_are_equally_long():
    rows = [row for row in shipped_splits()["train"] if row.rude != row.neutral]
    assert all(len(row.neutral.split()) == len(row.rude.split()) for row in rows)


def test_generator_gives_the_shipped_bytes(tmp_path):
    write_splits(tmp_path)
    for split in SIZES:
        assert (tmp_path / f"{split}.csv").read_bytes() == (ROOT / "dialogues" / f"{split}.csv").read_bytes()


# Tokenizer and policy


@pytest.mark.parametrize("text", NASTY)
def test_no_text_is_unknown_to_the_policy(policy_tokenizer, text):
    ids = policy_tokenizer(text).input_ids
    assert ids[-1] == policy_tokenizer.eos_token_id
    if "<unk>" not in text:
        assert policy_tokenizer.unk_token_id not in ids


def test_real_dialogsum_has_no_unknown_token(policy_tokenizer):
    folder = os.environ.get("SEQRLHF_DIALOGSUM")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SEQRLHF_DIALOGSUM names no folder with DialogSum's csv files")
    for path in sorted(Path(folder).glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts = [text for row in csv.DictReader(file) for text in (row["dialogue"], row["summary"])]
        assert texts
        ids = policy_tokenizer(texts, truncation=False).input_ids
        assert not any(policy_tokenizer.unk_token_id in row for row in ids)


def test_summaries_round_trip_and_are_short(policy_tokenizer, splits):
    for rows in splits.values():
        texts = [row["summary"] for row in rows]
        ids = policy_tokenizer(texts).input_ids
        assert policy_tokenizer.batch_decode(ids, skip_special_tokens=True) == texts
        assert sum(len(row) <= 45 for row in ids) >= 0.99 * len(ids)


def test_prompts_are_short(policy_tokenizer, splits):
    prompts = [PROMPT.format(dialogue=row["dialogue"]) for rows in splits.values() for row in rows]
    assert max(map(len, policy_tokenizer(prompts).input_ids)) <= 300


def test_policy_head_is_untied_and_survives_saving(policy, tmp_path):
    assert not torch.equal(policy.lm_head.weight, policy.shared.weight)
    policy.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    probe = {"input_ids": torch.arange(2, 42)[None], "decoder_input_ids": torch.arange(20)[None]}
    with torch.no_grad():
        torch.testing.assert_close(again(**probe).logits, policy(**probe).logits, atol=1e-5, rtol=0)


def test_generation_config_hides_nothing(policy):
    """A length limit or a sampling filter in the files would be one the log-probabilities do not know of."""
    config = policy.generation_config
    for name in ("min_length", "min_new_tokens", "top_k", "top_p", "no_repeat_ngram_size", "bad_words_ids"):
        assert getattr(config, name, None) in (None, 0, 1.0)


def test_policy_ends_varies_and_is_sometimes_rude(policy_tokenizer, sampled, splits):
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    texts = policy_tokenizer.batch_decode(sampled, skip_special_tokens=True)
    assert (sampled == policy_tokenizer.eos_token_id).any(1).float().mean() >= 0.97
    assert len(set(texts)) >= 0.97 * len(texts)
    assert 0.25 < sum(bool(RUDE.search(text)) for text in texts) / len(texts) < 0.5
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    references = [row["summary"] for row in splits["validation"]]
    scores = [
        scorer.score(reference, text)["rougeL"].fmeasure for reference, text in zip(references, texts, strict=False)
    ]
    assert sum(scores) / len(scores) > 0.75


# Reward model


def test_reward_labels_and_length():
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "reward")
    config = AutoModelForSequenceClassification.from_pretrained(ROOT / "reward").config
    assert config.id2label == {0: "nothate", 1: "hate"}
    assert tokenizer.model_max_length == config.max_position_embeddings - 2
    assert tokenizer.unk_token_id not in [token for text in NASTY[:7] for token in tokenizer(text).input_ids]


def test_reward_holds_up_on_handwritten_sentences(hate_probability):
    with Path(__file__).with_name("handwritten.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    probabilities = hate_probability([row["text"] for row in rows]).tolist()
    right = [(p > 0.5) == (row["label"] == "hate") for p, row in zip(probabilities, rows, strict=True)]
    assert sum(right) >= 42


def test_reward_tells_rude_from_neutral_summaries(hate_probability, policy_tokenizer, sampled):
    texts = policy_tokenizer.batch_decode(sampled, skip_special_tokens=True)
    rude = torch.tensor([bool(RUDE.search(text)) for text in texts])
    probabilities = hate_probability(texts)
    assert (probabilities[rude] > 0.9).float().mean() > 0.9
    assert (probabilities[~rude] < 0.1).float().mean() > 0.8


def test_reward_scores_the_longest_input(hate_probability):
    assert hate_probability(["word " * 2000]).isfinite().all()


def test_independent_judge_agrees():
    judge = pytest.importorskip("profanity_check")
    rows = [row for row in shipped_splits()["validation"] if row.rude != row.neutral]
    rude, neutral = (judge.predict_prob(texts) for texts in ([r.rude for r in rows], [r.neutral for r in rows]))
    assert rude.mean() > 0.5 > 0.15 > neutral.mean()
    assert (rude > neutral).all()


def test_everything_is_small():
    files = [path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20
