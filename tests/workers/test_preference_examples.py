"""What becomes of pairs and thumbs: token ids, reasons to leave one out, held-out prompts, mismatched completions."""

import pytest
from transformers import AutoTokenizer

from learner.preferences.pairs import Preference, Rating
from workers.preferences.examples import Form, as_ratings, held_out_prompts, make_examples, with_others

POLICY = "quickstart/policy"


@pytest.fixture(scope="module")
def form():
    return Form(AutoTokenizer.from_pretrained(POLICY), prefix=(0,), end=1, max_prompt_tokens=20, max_new_tokens=12)


def numbered(count):
    return [Preference(f"prompt {i}", f"good {i}", f"bad {i}") for i in range(count)]


def test_completions_are_their_tokens_with_one_end(form):
    [example] = make_examples([Preference("a prompt", "The customer.", "")], form).items
    tokens = form.tokenizer("The customer.", add_special_tokens=False)["input_ids"]
    assert example.completions == ((*tokens, 1), (1,)) and example.target == 1.0
    assert list(example.prompt_ids) == form.tokenizer("a prompt")["input_ids"]


def test_what_cannot_be_learnt_from_is_counted_by_reason_and_nothing_is_cut(form):
    rows = [
        Preference("a", "one", "two"),
        Preference("a", "one", "two", tie=True),
        Preference("a", "one", "one", tie=True),
        Preference("a " * 40, "one", "two"),
        Preference("a", "one", "two " * 20),
    ]
    found = make_examples(rows, form)
    assert [example.target for example in found.items] == [1.0, 0.5]
    assert found.left_out == {"same": 1, "prompt_too_long": 1, "too_long": 1}
    without = make_examples(rows, Form(**{**vars(form), "with_ties": False}))
    assert without.left_out == {"ties": 2, "prompt_too_long": 1, "too_long": 1}
    assert str(without).startswith("1 of 5; left out: 2 ties, from which dpo.loss.type learns nothing")


def test_prompts_are_held_out_whole_whatever_the_order(form):
    examples = make_examples([*numbered(20), *numbered(20)], form).items
    kept_out = held_out_prompts(examples, 0.1, seed=0)
    assert len(kept_out) == 2 and kept_out == held_out_prompts(examples[::-1], 0.1, seed=0)
    assert kept_out != held_out_prompts(examples, 0.1, seed=3)
    assert held_out_prompts(examples, 0, seed=0) == set()
    assert len(held_out_prompts(examples, 0.001, seed=0)) == 1
    assert held_out_prompts(examples[:1], 0.5, seed=0) == set(), "there must be something to learn from"


def test_a_pair_is_a_thumb_up_and_a_thumb_down_and_a_tie_is_none():
    pairs = [Preference("p", "yes", "no", annotator="ann"), Preference("p", "one", "two", tie=True)]
    assert as_ratings(pairs) == [Rating("p", "yes", True, "ann"), Rating("p", "no", False, "ann")]


def test_each_rating_gets_a_completion_of_another_prompt(form):
    ratings = make_examples(as_ratings(numbered(6)), form).items
    completions = {example.completions[0]: example.prompt for example in ratings}
    paired = with_others(ratings, seed=0)
    assert [example.completions[0] for example in paired] == [example.completions[0] for example in ratings]
    assert all(completions[example.completions[1]] != example.prompt for example in paired)
    assert len({example.completions[1] for example in paired}) > 6, "not always the same one"
    [alone] = with_others(ratings[:1], seed=0)
    assert alone.completions[1] == alone.completions[0]
