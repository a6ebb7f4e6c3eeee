"""The program that checks records: shares of right fields by hand, and what is no record."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.records.reward import MAX_CHARACTERS, fields_right

RECORD = '{"name": "Ann", "item": "lamp", "colour": "red", "count": 3, "day": "Friday"}'
SHARES = {
    RECORD: 1.0,
    '{"day": "Friday", "count": 3, "colour": "red", "item": "lamp", "name": "Ann"}': 1.0,  # in any order
    json.dumps(json.loads(RECORD), indent=4): 1.0,
    RECORD.replace("Ann", "Ben"): 0.8,
    RECORD.replace("Ann", "Ben").replace("3", "4"): 0.6,
    RECORD.replace("3", "3.0"): 0.8,
    RECORD.replace("3", '"3"'): 0.8,
    RECORD.replace("3", "true"): 0.8,
    RECORD.replace("3", "null"): 0.8,
    RECORD.replace("3", "NaN"): 0.8,
    RECORD.replace('"lamp"', '["lamp"]'): 0.8,
}
NO_RECORD = {
    "nothing": "",
    "a space": " ",
    "words": "three red lamps for Ann",
    "unclosed": RECORD[:-1],
    "closed twice": RECORD + "}",
    "introduced": "Record: " + RECORD,
    "unquoted": RECORD.replace('"Ann"', "Ann"),
    "single quotes": RECORD.replace('"', "'"),
    "a field too few": RECORD.replace('"count": 3, ', ""),
    "a field too many": RECORD.replace("{", '{"price": 3, '),
    "a field twice": RECORD.replace("{", '{"name": "Ann", '),
    "a list": f"[{RECORD}]",
    "a number": "3",
    "null": "null",
    "endless brackets": "[" * 10**6,
    "many brackets": "[" * MAX_CHARACTERS,
    "a surrogate": RECORD.replace("Ann", "\ud800") + "\ud800",
    "long": RECORD + " " * MAX_CHARACTERS,
}


@pytest.mark.parametrize("text", SHARES)
def test_shares_are_those_counted_by_hand(text):
    assert fields_right([text], record=[RECORD]) == [pytest.approx(SHARES[text])]


@pytest.mark.parametrize("text", NO_RECORD.values(), ids=NO_RECORD)
def test_what_is_no_record_scores_nothing(text):
    assert fields_right([text], record=[RECORD]) == [0.0]


def test_true_is_not_one():
    assert fields_right(['{"count": true}', '{"count": 1}'], record=['{"count": 1}'] * 2) == [0.0, 1.0]


def test_every_completion_is_held_against_its_own_record():
    other = RECORD.replace("Ann", "Ben")
    assert fields_right([RECORD, RECORD], record=[RECORD, other], prompts=["", ""]) == [1.0, pytest.approx(0.8)]


@given(st.text(max_size=60) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(),
                                           lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                                           max_leaves=10).map(json.dumps))  # fmt: skip
def test_any_text_gets_a_score(text):
    assert fields_right([text], record=[RECORD]) == [0.0]
