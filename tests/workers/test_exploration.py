"""Figures of a data set, against counts made by hand."""

import json

import pytest
from transformers import AutoTokenizer

from configs.data import DataConfig
from workers.data.examples import Example, read_examples
from workers.data.exploration import SAMPLES, TOPICS, Split, explore_splits
from workers.data.languages import UNSAID
from workers.data.prompts import make_prompts, read_rows

DATA = DataConfig(path="", min_chars=5, max_chars=8, template="say: {text}")


def split(dialogues, summaries, topics=None):
    """A split with at most one summary for each row."""
    rows = zip(dialogues, summaries, topics or [""] * len(dialogues), strict=True)
    return Split(
        [Example("", text, (summary,) if summary else (), "", topic, UNSAID, {}) for text, summary, topic in rows]
    )


@pytest.fixture(scope="module")
def tokenizer(config):
    return AutoTokenizer.from_pretrained(config.policy.model)


def test_rows_dialogues_references_and_lengths_match_hand_computed(tokenizer):
    data = split(["hello", "hello", "hello", "good bye"], ["one", "two", "three", ""])
    figures = explore_splits({"test": data}, DATA, tokenizer)["splits"]["test"]
    assert (figures["rows"], figures["dialogues"], figures["references"]) == (4, 2, {"0": 1, "3": 1})
    assert figures["rows_without_summary"] == 1
    assert figures["lengths"]["dialogue_chars"] == {"min": 5, "median": 6.5, "mean": 6.5, "p90": 7.7, "max": 8}
    assert figures["lengths"]["summary_chars"] == {
        "min": 3, "median": 3, "mean": pytest.approx(11 / 3), "p90": pytest.approx(4.6), "max": 5
    }  # fmt: skip
    for measure, texts in {
        "dialogue_tokens": ["hello", "good bye"],
        "prompt_tokens": ["say: hello", "say: good bye"],
        "summary_tokens": ["one", "two", "three"],
    }.items():
        counts = [len(tokenizer(text)["input_ids"]) for text in texts]
        assert figures["lengths"][measure]["mean"] == pytest.approx(sum(counts) / len(counts))
        assert figures["lengths"][measure]["max"] == max(counts)


def test_the_filter_keeps_its_bounds_and_every_row_has_one_fate(tokenizer):
    cells = ["four", "12345", "12345678", "123456789", "", " \n", "12345", "12345", "54321"]
    data = split(cells, [*"sssssst", "s", ""])
    figures = explore_splits({"test": data}, DATA, tokenizer)["splits"]["test"]
    assert figures["filter"] == {"kept": 3, "empty": 2, "too_short": 1, "too_long": 1, "no_reference": 1,
                                 "repeated": 1, "too_many_tokens": 0}  # fmt: skip
    assert figures["prompts"] == 2
    bound = len(tokenizer("say: 12345")["input_ids"])
    few = DATA.model_copy(update={"max_prompt_tokens": bound})
    figures = explore_splits({"test": data}, few, tokenizer)["splits"]["test"]
    assert (figures["filter"]["kept"], figures["filter"]["too_many_tokens"], figures["prompts"]) == (2, 1, 1)


@pytest.mark.parametrize("min_chars", [0, 5])
def test_what_is_kept_is_what_a_run_gets(tmp_path, tokenizer, min_chars):
    rows = [
        {"dialogue": text, "summary": "s"} for text in ("", "four", "12345", "12345", "x" * 8, "x" * 9, None, "y y y y")
    ]
    rows.append({"dialogue": "54321", "summary": None})
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DATA.model_copy(update={"path": str(tmp_path), "min_chars": min_chars, "max_prompt_tokens": 12})
    prompts = make_prompts(read_rows(data, "test"), data, tokenizer)
    figures = explore_splits({"test": Split(list(read_examples(data, "test")))}, data, tokenizer)["splits"]["test"]
    assert figures["prompts"] == len(prompts) > 0
    assert figures["filter"]["kept"] == sum(len(prompt.references) for prompt in prompts)
    assert {fate: rows for fate, rows in figures["filter"].items() if fate != "kept" and rows} == {
        why: rows for why, rows in prompts.left_out.items() if rows
    }


def test_duplicates_are_told_from_further_references(tokenizer):
    splits = {
        "train": split(["a b", "a b", "a b", "A  b", "c"], ["1", "2", "2", "1", "1"]),
        "test": split(["c", "A b", "d"], ["1"] * 3),
    }
    figures = explore_splits(splits, DATA, tokenizer)
    train = figures["splits"]["train"]
    assert train["repeated_rows"] == 1  # ("a b", "2"); ("a b", "1") and ("a b", "2") are two references
    assert train["near_duplicates"] == 1  # "A  b"
    [shared] = figures["shared"]
    assert shared["splits"] == ["train", "test"] and (shared["exact"], shared["near"]) == (1, 1)
    assert shared["examples"][0] == "c" and shared["examples"][1] in ("a b", "A  b")


def test_a_near_duplicate_that_is_also_an_exact_one_counts_once(tokenizer):
    splits = {"train": split(["a b", "A b"], ["", ""]), "test": split(["a b"], [""])}
    [shared] = explore_splits(splits, DATA, tokenizer)["shared"]
    assert (shared["exact"], shared["near"], shared["examples"]) == (1, 0, ["a b"])


def test_at_most_three_examples_of_a_pair_and_every_pair_of_splits(tokenizer):
    splits = {name: split(list("abcde"), [""] * 5) for name in ("train", "validation", "test")}
    shared = explore_splits(splits, DATA, tokenizer)["shared"]
    assert [pair["exact"] for pair in shared] == [5, 5, 5]
    assert all(pair["examples"] == ["a", "b", "c"] for pair in shared)


def test_topics_are_counted_by_split_the_most_frequent_first_the_others_summed_up(tokenizer):
    topics = ["much"] * 3 + [f"{i:02}" for i in range(TOPICS + 4)]
    train = split([str(i) for i in range(len(topics))], [""] * len(topics), topics)
    figures = explore_splits({"train": train, "test": split(["x"], [""], ["much"])}, DATA, tokenizer)["topics"]
    assert figures["distinct"] == TOPICS + 5 and len(figures["top"]) == TOPICS
    assert figures["top"][0] == {"topic": "much", "rows": {"train": 3, "test": 1}}
    assert figures["top"][1] == {"topic": "00", "rows": {"train": 1, "test": 0}}
    assert figures["others"] == {"topics": 5, "rows": {"train": 5, "test": 0}}


def test_histograms_hold_every_length_once_over_common_bins(tokenizer):
    splits = {"train": split(["a" * n for n in range(1, 101)], ["s"] * 100), "test": split(["b" * 250], ["s"])}
    histogram = explore_splits(splits, DATA, tokenizer)["histograms"]["dialogue_chars"]
    edges, counts = histogram["edges"], histogram["counts"]
    assert edges[0] == 1 and edges[-1] > 250 and len(edges) - 1 == len(counts["train"]) == len(counts["test"])
    assert (sum(counts["train"]), sum(counts["test"])) == (100, 1)
    assert counts["train"][0] == edges[1] - edges[0]  # a text of each length


def test_samples_are_the_same_every_time_of_the_train_split_with_all_references_and_topics(tokenizer):
    texts = [str(i // 2) for i in range(40)]
    splits = {"test": split(["x"], ["y"]), "train": split(texts, [f"s{i}" for i in range(40)], ["t", "u"] * 20)}
    samples = explore_splits(splits, DATA, tokenizer)["samples"]
    assert samples == explore_splits(splits, DATA, tokenizer)["samples"]
    assert samples["split"] == "train" and len({sample["dialogue"] for sample in samples["dialogues"]}) == SAMPLES
    for sample in samples["dialogues"]:
        i = 2 * int(sample["dialogue"])
        assert sample["references"] == [f"s{i}", f"s{i + 1}"] and sample["topics"] == ["t", "u"]


@pytest.mark.parametrize("cells", [[], ["", " ", ""]])
def test_a_split_without_any_text_has_figures_without_nan(tokenizer, cells):
    figures = explore_splits({"test": split(cells, [""] * len(cells))}, DATA, tokenizer)
    assert figures["splits"]["test"]["lengths"] == dict.fromkeys(figures["histograms"])
    assert figures["splits"]["test"]["filter"]["empty"] == len(cells) and figures["samples"]["dialogues"] == []
    json.dumps(figures, allow_nan=False)
