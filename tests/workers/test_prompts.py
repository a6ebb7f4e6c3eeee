"""Reading data: what is kept, in which form."""

import csv
import json

import pytest
from transformers import AutoTokenizer

from cluster.plan import make_unit, prompts_sha256
from configs.data import DataConfig
from configs.errors import UsageError
from workers.data.prompts import make_prompts, read_rows


@pytest.fixture(scope="module")
def tokenizer(config):
    return AutoTokenizer.from_pretrained(config.policy.model)


def load_prompts(data, split, tokenizer):
    return make_prompts(read_rows(data, split), data, tokenizer)


def write(folder, rows, kind="csv"):
    with (folder / f"test.{kind}").open("w", newline="", encoding="utf-8") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return DataConfig(path=str(folder), min_chars=5, max_chars=20, template="say: {text} !")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_one_dialogue_are_one_prompt_with_several_references(tmp_path, tokenizer, kind):
    rows = [{"dialogue": "hello, you", "summary": s} for s in ("one", "two")] + [
        {"dialogue": "good bye", "summary": "x"}
    ]
    prompts = load_prompts(write(tmp_path, rows, kind), "test", tokenizer)
    assert [p.references for p in prompts] == [("one", "two"), ("x",)]
    assert prompts[0].text == "say: hello, you !"
    assert list(prompts[0].token_ids) == tokenizer("say: hello, you !")["input_ids"]


def test_the_length_filter_counts_characters_of_the_dialogue_and_tokens_of_the_prompt(tmp_path, tokenizer):
    rows = [{"dialogue": text, "summary": "s"} for text in ("four", "12345", "x" * 20, "x" * 21)]
    data = write(tmp_path, rows)
    kept = [p.text for p in load_prompts(data, "test", tokenizer)]
    assert kept == ["say: 12345 !", f"say: {'x' * 20} !"]
    few = data.model_copy(update={"max_prompt_tokens": len(tokenizer("say: 12345 !")["input_ids"])})
    assert [p.text for p in load_prompts(few, "test", tokenizer)] == ["say: 12345 !"]


def test_braces_in_a_dialogue_are_just_text(tmp_path, tokenizer):
    prompts = load_prompts(write(tmp_path, [{"dialogue": "{0} {text} %s", "summary": "s"}]), "test", tokenizer)
    assert prompts[0].text == "say: {0} {text} %s !"


def test_a_broken_file_is_named(tmp_path, tokenizer):
    (tmp_path / "test.jsonl").write_text('{"dialogue": "a"\n{{{')
    with pytest.raises(UsageError, match=r"test\.jsonl cannot be read"):
        load_prompts(DataConfig(path=str(tmp_path)), "test", tokenizer)


def test_a_unit_carries_all_columns_of_each_prompt_those_of_the_first_of_several_rows(tmp_path, tokenizer):
    more = [{"answer": 7, "turns": [{"by": "A"}]}, {"answer": 8, "turns": []}, {"answer": None, "turns": []}]
    texts = [("hello, you", "one"), ("hello, you", "two"), ("good bye", "x")]
    rows = [{"dialogue": text, "summary": summary, **row} for (text, summary), row in zip(texts, more, strict=True)]
    prompts = load_prompts(write(tmp_path, rows, "jsonl"), "test", tokenizer)
    assert [prompt.row for prompt in prompts] == [rows[0], rows[2]]
    unit = make_unit(prompts, [1, 0, 0], (0, 0), seed=0)
    assert unit.columns == (rows[2], rows[0], rows[0])
    json.dumps(unit.columns)


def test_a_changed_column_changes_the_hash_of_the_prompts(tmp_path, tokenizer):
    row = {"dialogue": "hello, you", "summary": "s"}
    hashes = {
        prompts_sha256(load_prompts(write(tmp_path, [row | more], "jsonl"), "test", tokenizer))
        for more in ({"answer": 1}, {"answer": 2}, {"answer": "1"}, {})
    }
    assert len(hashes) == 4
