"""Data in the forms that people have it: the bytes of a file, and the rows they become or the one message."""

import gzip
import json
from datetime import datetime
from typing import NamedTuple

import datasets
import pytest

from configs.data import DataConfig
from configs.errors import UsageError
from workers.data.examples import read_examples
from workers.data.prompts import read_rows
from workers.data.reading import split_names

TWO = [("hi", ("hello",)), ("bye", ("later",))]


class Case(NamedTuple):
    """A file of the train split."""

    name: str
    data: bytes
    rows: list | str  # (text, references) of each row, or the message without "data.path: FOLDER/NAME"
    settings: dict | None = None


def lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def one(dialogue, summary="s") -> bytes:
    return lines({"dialogue": dialogue, "summary": summary})


CSV = b"dialogue,summary\nhi,hello\nbye,later\n"
JSONL = lines({"dialogue": "hi", "summary": "hello"}, {"dialogue": "bye", "summary": "later"})
ACCENTS = "dialogue,summary\ncafé,“naïve”\n"
UNREADABLE = "cannot be read: "
# fmt: off
CASES = {
    "csv": Case("train.csv", CSV, TWO),
    "csv of Windows": Case("train.csv", CSV.replace(b"\n", b"\r\n"), TWO),
    "csv of an old Mac": Case("train.csv", CSV.replace(b"\n", b"\r"), TWO),
    "byte order mark": Case("train.csv", b"\xef\xbb\xbf" + CSV, TWO),
    "UTF-16 of Excel": Case("train.csv", CSV.decode().encode("utf-16"), TWO),
    "semicolons": Case("train.csv", b"dialogue;summary\nhi;hello\nbye;later\n", TWO),
    "commas in cells between semicolons": Case("train.csv", b"dialogue;summary\na, b;c, d\n", [("a, b", ("c, d",))]),
    "tabs in csv": Case("train.csv", CSV.replace(b",", b"\t"), TWO),
    "tsv": Case("train.tsv", CSV.replace(b",", b"\t"), TWO),
    "commas in tsv": Case("train.tsv", b"dialogue\tsummary\na, b\tc\n", [("a, b", ("c",))]),
    "gzipped csv": Case("train.csv.gz", gzip.compress(CSV), TWO),
    "gzipped jsonl": Case("train.jsonl.gz", gzip.compress(JSONL), TWO),
    "shards": Case("train-00000-of-00001.csv", CSV, TWO),
    "blank lines": Case("train.csv", b"\ndialogue,summary\n\nhi,hello\n\nbye,later\n\n", TWO),
    "spaces around names": Case("train.csv", b"dialogue , summary\nhi,hello\nbye,later\n", TWO),
    "quotes and line ends in cells": Case(
        "train.csv", b'dialogue,summary\r\n"A: ""hi"", you\r\nB: bye",s\r\n', [('A: "hi", you\nB: bye', ("s",))]
    ),
    "cp1252 that is named": Case(
        "train.csv", ACCENTS.encode("cp1252"), [("café", ("“naïve”",))], {"encoding": "cp1252"}
    ),
    "the words NA, None, nan and null are words": Case(
        "train.csv",
        b"dialogue,summary\nNA,None\nnan,null\n",
        [("NA", ("None",)), ("nan", ("null",))],
    ),
    "numbers keep their digits": Case(
        "train.csv", b"dialogue,summary\n007,0\n1.50,1e3\n", [("007", ("0",)), ("1.50", ("1e3",))]
    ),
    "a number is a text": Case("train.jsonl", one(12, 0), [("12", ("0",))]),
    "dates stay as they are": Case("train.jsonl", one("2024-01-01", "2024-01-01T00:00:00"),
                                   [("2024-01-01", ("2024-01-01T00:00:00",))]),
    "no reference": Case(
        "train.jsonl",
        lines(*({"dialogue": "a", "summary": s} for s in ("", " \n", None, float("nan"), [], [None, ""])),
              {"dialogue": "a"}),
        [("a", ())] * 7,
    ),
    "no text": Case("train.jsonl", lines(*({"dialogue": d, "summary": "s"} for d in ("", None, [], [None]))),
                    [("", ("s",))] * 4),
    "an empty summary in csv": Case("train.csv", b'dialogue,summary\na,\nb,""\n', [("a", ()), ("b", ())]),
    "a list of references": Case("train.jsonl", one("hi", ["a", None, "b"]), [("hi", ("a", "b"))]),
    "several columns": Case(
        "train.csv", b"dialogue,summary1,summary2,summary3\nhi,a,,c\n", [("hi", ("a", "c"))],
        {"reference_column": "summary1, summary2,summary3"},
    ),
    "other columns": Case("train.csv", b"id,article,highlights\n1,hi,hello\n2,bye,later\n", TWO,
                          {"prompt_column": "article", "reference_column": ["highlights"]}),
    "nested columns": Case("train.jsonl", lines({"translation": {"en": "hi", "de": "hallo"}}), [("hi", ("hallo",))],
                           {"prompt_column": "translation.en", "reference_column": "translation.de"}),
    "nested lists": Case("train.jsonl", one("hi", [{"text": "a", "by": 1}, {"text": "b", "by": 2}]),
                         [("hi", ("a", "b"))], {"reference_column": "summary.text"}),
    "a column with a dot": Case("train.csv", b"a.b,summary\nhi,hello\nbye,later\n", TWO, {"prompt_column": "a.b"}),
    "turns as texts": Case("train.jsonl", one(["A: hi", "B: hello\nyou", None]), [("A: hi\nB: hello you", ("s",))]),
    "turns as objects": Case(
        "train.jsonl",
        lines({"dialogue": [{"speaker": "Ann", "text": "hi"}, {"speaker": "Bob", "text": "hello"}], "summary": "s"},
              {"dialogue": [{"role": "user", "content": "h\ni"}, {"content": "hello"}], "summary": "s"},
              {"dialogue": [{"from": "gpt", "value": "hi"}, {"from": "human", "value": ""}], "summary": "s"},
              {"dialogue": {"speaker": ["Ann", "Bob"], "text": ["hi", "hello"]}, "summary": "s"}),
        [(text, ("s",)) for text in ("Ann: hi\nBob: hello", "user: h i\nhello", "gpt: hi", "Ann: hi\nBob: hello")],
    ),
    "json, a list": Case("train.json", json.dumps([json.loads(line) for line in JSONL.splitlines()]).encode(), TWO),
    "json, an indented list": Case(
        "train.json", json.dumps([json.loads(line) for line in JSONL.splitlines()], indent=1).encode(), TWO
    ),
    "json, an object per line": Case("train.json", JSONL, TWO),
    "jsonl with a byte order mark": Case("train.jsonl", b"\xef\xbb\xbf" + JSONL, TWO),
    "jsonl of Windows": Case("train.ndjson", JSONL.replace(b"\n", b"\r\n"), TWO),
    # and what is refused
    "one comma too many": Case(
        "train.csv", b"dialogue,summary\nhi,hello\noh, dear,hello\n",
        UNREADABLE + "line 3 has 3 cells, the header has 2 (separated by ','); put quotes around cells that contain "
        "',': \"...\"",
    ),
    "one comma too many in all rows": Case(
        "train.csv", b"dialogue,summary\nhi, you,hello\n", UNREADABLE + "line 2 has 3 cells, the header has 2"
    ),
    "a cell too few": Case("train.csv", b"dialogue,summary\n\"a\nb\",s\nhi\n", UNREADABLE + "line 4 has 1 cells"),
    "a quote that does not end": Case(
        "train.csv", b'dialogue,summary\nhi,s\n"hi,hello\nbye,later\n',
        UNREADABLE + "line 3 is not valid csv: unexpected end of data",
    ),
    "quotes that are not doubled": Case(
        "train.csv", b'dialogue,summary\n"say "hi" now",hello\n', UNREADABLE + "line 2 is not valid csv"
    ),
    "one column twice": Case(
        "train.csv", b"dialogue,summary,summary\na,b,c\n", UNREADABLE + "its header has two columns called 'summary'"
    ),
    "cp1252 that is not named": Case(
        "train.csv", b"dialogue,summary\nhi,hello\n" + "café,s\n".encode("cp1252"),
        UNREADABLE + "line 3 is not utf-8; save it as UTF-8, or name its encoding, such as --data.encoding cp1252",
    ),
    "an empty file": Case("train.csv", b"", UNREADABLE + "it has no rows"),
    "a header alone": Case("train.csv", b"dialogue,summary\n", UNREADABLE + "it has no rows"),
    "an empty list": Case("train.json", b"[]", UNREADABLE + "it has no rows"),
    "not gzipped": Case("train.csv.gz", CSV, UNREADABLE + "Not a gzipped file"),
    "cut gzip": Case("train.csv.gz", gzip.compress(CSV)[:-9], UNREADABLE + "Compressed file ended before"),
    "broken jsonl": Case(
        "train.jsonl", JSONL + b'{"dialogue": "a"\n', UNREADABLE + "line 3, character 17 is not JSON (Expecting ',' "
    ),
    "a broken list": Case("train.json", b'[{"dialogue": "a"},\n {"dialogue" "b"}]',
                          UNREADABLE + "line 2, character 14 is not JSON (Expecting ':' "),
    "a row that is no object": Case("train.jsonl", JSONL + b'["hi", "hello"]\n',
                                    UNREADABLE + "line 3 is not an object"),
    "one object": Case("train.json", b'{\n "data": []\n}', UNREADABLE + "line 1, character 2 is not JSON"),
    "parquet that is none": Case("train.parquet", CSV, UNREADABLE),
    "shards that are missing": Case("train-00000-of-00002.csv", CSV, "lacks shard 00001 of 2 of the split train"),
}
CELLS = {
    "no such column": ({"dialogue": "a", "text": "s"}, {}, "data.reference_column: {path!r} (train) has no column "
                       "'summary'; it has dialogue, text; null, if there are no references"),
    "no such nested column": ({"dialogue": {"en": "a"}, "summary": "s"}, {"prompt_column": "dialogue.fr"},
                              "data.prompt_column: {path!r} (train) has no column 'dialogue.fr'; it has "
                              "dialogue.en, summary"),
    "an object": ({"dialogue": {"en": "a", "de": "b"}, "summary": "s"}, {},
                  "data.prompt_column: 'dialogue' of {path}/train.jsonl line 2 is not a text but an object with the "
                  "keys en, de; name one, after a dot"),
    "references that are objects": ({"dialogue": "a", "summary": [{"text": "s"}]}, {},
                                    "data.reference_column: 'summary' of {path}/train.jsonl line 2 is not a text but "
                                    "an object with the keys text; name one, after a dot"),
    "true": ({"dialogue": "a", "summary": True}, {}, "data.reference_column: 'summary' of {path}/train.jsonl line 2 "
             "is not a text but true or false"),
    "turns without text": ({"dialogue": [{"speaker": "A", "said": "hi"}], "summary": "s"}, {},
                           "data.prompt_column: 'dialogue' of {path}/train.jsonl line 2 has a turn without any of the "
                           "keys text, content, value, utterance, message; it has speaker, said"),
}
# fmt: on


def read(folder, split="train", **settings):
    data = DataConfig(path=str(folder), min_chars=0, **settings)
    return [(example.text, example.references) for example in read_examples(data, split)]


@pytest.mark.parametrize("name", CASES)
def test_a_file_becomes_its_rows_or_one_message(name, tmp_path):
    case = CASES[name]
    (tmp_path / case.name).write_bytes(case.data)
    if isinstance(case.rows, list):
        assert read(tmp_path, **case.settings or {}) == case.rows
        return
    with pytest.raises(UsageError) as error:
        read(tmp_path, **case.settings or {})
    [message] = error.value.problems
    file = tmp_path if case.rows.startswith("lacks") else tmp_path / case.name
    assert message.startswith(f"data.path: {file} {case.rows}")


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_is_no_text_is_named(name, tmp_path):
    row, settings, expected = CELLS[name]
    (tmp_path / "train.jsonl").write_bytes(b"\n" + lines(row))
    with pytest.raises(UsageError) as error:
        read(tmp_path, **settings)
    assert error.value.problems == (expected.format(path=str(tmp_path)),)


def dataset(*texts):
    return datasets.Dataset.from_dict({"dialogue": list(texts), "summary": ["s"] * len(texts)})


def texts(folder, split="train", **settings):
    return [text for text, _ in read(folder, split, **settings)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """What `datasets` converts parquet files to stays in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))


def test_parquet_shards_are_read_in_their_order_also_from_the_folder_data_of_a_repository(tmp_path):
    (tmp_path / "data").mkdir()
    for number, letters in enumerate(("ab", "cd")):
        dataset(*letters).to_parquet(tmp_path / f"data/train-{number:05d}-of-00002-0123456789abcdef.parquet")
    assert texts(tmp_path) == list("abcd")
    (tmp_path / "data/train-00000-of-00002-0123456789abcdef.parquet").unlink()
    with pytest.raises(UsageError, match="lacks shard 00000 of 2 of the split train"):
        texts(tmp_path)


def test_shards_of_text_may_lack_columns(tmp_path):
    (tmp_path / "train-00000-of-00002.jsonl").write_bytes(lines({"dialogue": "a"}))
    (tmp_path / "train-00001-of-00002.jsonl").write_bytes(lines({"dialogue": "b", "summary": "s"}))
    assert read(tmp_path) == [("a", ()), ("b", ("s",))]


def test_folders_of_save_to_disk(tmp_path):
    datasets.DatasetDict(train=dataset("a"), test=dataset("b", "c")).save_to_disk(tmp_path / "both")
    assert texts(tmp_path / "both") == ["a"] and texts(tmp_path / "both", "test") == ["b", "c"]
    dataset("a", "b", "c", "d").save_to_disk(tmp_path / "one")
    assert texts(tmp_path / "one", "train[:75%]") == ["a", "b", "c"]
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"?")
    with pytest.raises(UsageError, match=r"one cannot be read: "):
        texts(tmp_path / "one")


def test_a_configuration_of_a_repository_is_chosen_by_data_config(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- {config_name: en, data_files: [{split: train, path: en.jsonl}]}\n"
        "- {config_name: de, data_files: [{split: train, path: de.jsonl}]}\n---\n"
    )
    (tmp_path / "en.jsonl").write_bytes(one("hi"))
    (tmp_path / "de.jsonl").write_bytes(one("hallo"))
    assert texts(tmp_path, config="de") == ["hallo"]
    with pytest.raises(UsageError, match=r"data\.path: .* cannot be listed.*'fr'.*choose one with data\.config"):
        texts(tmp_path, config="fr")


@pytest.mark.parametrize("other", ["train.jsonl", "train.csv.gz", "train-00000-of-00001.csv"])
def test_two_files_for_one_split_are_refused_by_name_and_only_where_the_split_is_read(tmp_path, other):
    (tmp_path / "train.csv").write_bytes(CSV)
    (tmp_path / "test.csv").write_bytes(CSV)
    (tmp_path / other).write_bytes(CSV)
    with pytest.raises(UsageError, match="more than one file for the split train") as error:
        read(tmp_path)
    assert "train.csv" in str(error.value) and other in str(error.value)
    assert read(tmp_path, "test") == TWO


def test_a_single_file_is_the_training_split_which_can_be_divided(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("dialogue,summary\n" + "".join(f"{n},s\n" for n in range(20)))
    assert split_names(DataConfig(path=str(file))) == ["train"]
    numbers = [str(n) for n in range(20)]
    assert texts(file) == texts(file, "train[:90%]") + texts(file, "train[90%:]") == numbers
    assert texts(file, "train[-2:]") == ["18", "19"] and texts(file, "train[5%:10%]") == ["1"]
    with pytest.raises(UsageError) as error:
        texts(file, "test")
    assert f"{file} has no split test; splits found: train; divide train, such as" in str(error.value)
    assert "--data.train_split 'train[:90%]' --data.eval_split 'train[90%:]'" in str(error.value)
    assert texts(file, "train[15:30]") == numbers[15:]
    with pytest.raises(UsageError, match=r"'train\[20:\]' of .*mine\.csv has no rows"):
        texts(file, "train[20:]")
    for wrong in ("train[a:]", "train[:1]+train[:1]", "train[:90%", "train[50]"):
        with pytest.raises(UsageError, match=r"data: .* is no part of a split, such as"):
            texts(file, wrong)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "mine.xlsx").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"mine\.xlsx is no csv, tsv, jsonl, json \(each also \.gz\) or parquet file"):
        texts(tmp_path / "mine.xlsx")


def test_a_split_of_another_name_is_told(tmp_path):
    (tmp_path / "train.csv").write_bytes(CSV)
    (tmp_path / "dev.csv").write_bytes(CSV)
    with pytest.raises(UsageError, match=r"has no split validation; splits found: dev, train; choose another with"):
        texts(tmp_path, "validation")


def test_numeric_columns_of_csv_are_numbers_and_the_text_columns_texts(tmp_path):
    (tmp_path / "train.csv").write_text("dialogue,summary,n,x,id,empty\n1,2,3,0.5,007,\n4,5,,1e3,8,\n")
    rows = [dict(example.columns) for example in read_examples(DataConfig(path=str(tmp_path)), "train")]
    assert rows == [
        {"dialogue": "1", "summary": "2", "n": 3, "x": 0.5, "id": "007", "empty": ""},
        {"dialogue": "4", "summary": "5", "n": None, "x": 1000.0, "id": "8", "empty": ""},
    ]


def test_columns_are_plain_values_whatever_the_file_holds(tmp_path):
    rows = dataset("a").add_column("when", [datetime(2024, 1, 2)]).add_column("score", [float("nan")])
    rows.add_column("nested", [{"list": [1, None]}]).save_to_disk(tmp_path / "saved")
    [example] = read_examples(DataConfig(path=str(tmp_path / "saved")), "train")
    expected = {"when": "2024-01-02 00:00:00", "score": None, "nested": {"list": [1, None]}}
    assert example.columns == {"dialogue": "a", "summary": "s", **expected}


def test_every_row_is_kept_or_left_out_for_one_reason(tmp_path):
    rows = [("hello", "one"), ("hello", "two"), ("hello", "one"), ("", "s"), ("four", "s"), ("123456789", ""),
            ("12345", ""), ("12345", "s"), ("12345", None)]  # fmt: skip
    (tmp_path / "train.jsonl").write_bytes(lines(*({"dialogue": d, "summary": s} for d, s in rows)))
    kept = read_rows(DataConfig(path=str(tmp_path), min_chars=5, max_chars=8), "train")
    assert [(row.text, row.references) for row in kept] == [("hello", ("one", "two")), ("12345", ("s",))]
    left_out = {"repeated": 1, "empty": 1, "too_short": 1, "too_long": 1, "no_reference": 2}
    assert kept.left_out == left_out and kept.rows == 9 == sum(row.rows for row in kept) + sum(left_out.values())
    assert str(kept) == (
        "2 prompts from 9 rows; left out: 1 without a text, 1 shorter than data.min_chars, 1 longer than "
        "data.max_chars, 2 without a reference, 1 repeating a text and its references"
    )


def test_the_place_of_a_row_is_the_line_it_starts_on(tmp_path):
    (tmp_path / "train.csv").write_text('dialogue,summary\n\n"a\nb",s\nc,s\n')
    places = [example.place for example in read_examples(DataConfig(path=str(tmp_path)), "train")]
    assert places == [f"{tmp_path / 'train.csv'} line {line}" for line in (3, 5)]
