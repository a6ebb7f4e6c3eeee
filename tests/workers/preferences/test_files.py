"""Files of pairs and ratings: the bytes of a file, and what is read of them or the one message."""

import gzip
import json
from typing import NamedTuple

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UsageError
from learner.preferences.pairs import Preference, Rating
from workers.preferences.files import read_preferences, read_ratings
from workers.preferences.writing import check_target, write_preferences

A_OVER_B = [Preference("p", "a", "b")]


class Case(NamedTuple):
    """A file, and its preferences or parts of the message."""

    name: str
    data: bytes
    expected: list[Preference] | tuple[str, ...]


def lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def one(**changes) -> bytes:
    return lines({"prompt": "p", "chosen": "a", "rejected": "b"} | changes)


# fmt: off
CASES = {
    "jsonl": Case("a.jsonl", one(), A_OVER_B),
    "json": Case("a.json", b"[" + one() + b"]", A_OVER_B),
    "gzipped": Case("a.jsonl.gz", gzip.compress(one()), A_OVER_B),
    "csv": Case("a.csv", b"prompt,chosen,rejected\np,a,b\n", A_OVER_B),
    "csv of numbers": Case("a.csv", b"prompt,chosen,rejected,annotator,pair\n1,2,3,4,007\n",
                           [Preference("1", "2", "3", annotator="4", pair="007")]),
    "tsv with a mark": Case("a.tsv", b"\xef\xbb\xbfprompt\tchosen\trejected\np\ta\tb\n", A_OVER_B),
    "all columns": Case("a.jsonl", one(margin=2, annotator=3, pair="x", id=9),
                        [Preference("p", "a", "b", margin=2.0, annotator="3", pair="x")]),
    "ties of Excel": Case("a.csv", b"prompt,chosen,rejected,tie,margin\np,a,b,TRUE,\np,a,b,FALSE,1.5\np,a,b,,\n",
                          [Preference("p", "a", "b", tie=True), Preference("p", "a", "b", margin=1.5), *A_OVER_B]),
    "a tie of equal texts": Case("a.jsonl", one(rejected="a", tie=True), [Preference("p", "a", "a", tie=True)]),
    "guarded formulas": Case("a.csv", b"prompt,chosen,rejected\n'=1,'a,''-b\n", [Preference("=1", "'a", "'-b")]),
    "no such file": Case("a.jsonl/b.jsonl", b"", ("does not exist", "name a jsonl")),
    "no known ending": Case("a.xlsx", b"PK", ("a.xlsx is no csv", "judging by its name")),
    "empty": Case("a.jsonl", b"", ("it has no rows",)),
    "no column": Case("a.jsonl", lines({"question": "p", "chosen": "a"}),
                      ("no column prompt and no column rejected", "its columns are question, chosen", "pairs import")),
    "not JSON": Case("a.jsonl", one() + b"{'prompt'\n", ("line 2, character 2", "is not JSON")),
    "not UTF-8": Case("a.csv", b"prompt,chosen,rejected\np,caf\xe9,b\n", ("line 2", "save it as UTF-8")),
    "a comma too many": Case("a.csv", b"prompt,chosen,rejected\np,a,b,c\n", ("line 2 has 4 cells",)),
    "no text": Case("a.jsonl", one() + one(chosen=" "), ("a.jsonl line 2: chosen: there is no text",)),
    "null": Case("a.jsonl", one(prompt=None), ("line 1: prompt: there is no text",)),
    "messages": Case("a.jsonl", one(chosen=[{"role": "user", "content": "a"}]), ("chosen: this is a list",)),
    "a number": Case("a.jsonl", one(rejected=3), ("rejected: 3 is not a text",)),
    "half an emoji": Case("a.jsonl", one(chosen="a\ud83d"), ("chosen: character 2 is half of a surrogate pair",)),
    "equal texts": Case("a.jsonl", one(rejected="a "), ("chosen and rejected are the same text", "tie = true")),
    "no truth": Case("a.jsonl", one(tie="maybe"), ("tie: 'maybe' is neither true nor false",)),
    "half a truth": Case("a.jsonl", one(tie=0.5), ("tie: 0.5 is neither true nor false",)),
    "endless margin": Case("a.jsonl", one(margin=float("inf")), ("margin: inf is not a finite number",)),
    "no margin": Case("a.csv", b"prompt,chosen,rejected,margin\np,a,b,much\n", ("margin: 'much' is not a finite",)),
    "true as a margin": Case("a.jsonl", one(margin=True), ("margin: True is not a finite number",)),
    "below 0": Case("a.jsonl", one(margin=-1), ("margin: -1.0 is below 0: exchange chosen and rejected",)),
    "a tie with a margin": Case("a.jsonl", one(margin=1, tie=True), ("margin: a tie has none",)),
    "a list as a name": Case("a.jsonl", one(annotator=["x"]), ("annotator: this is a list",)),
}
# fmt: on


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_its_preferences_or_one_clear_error(name, tmp_path):
    case = CASES[name]
    if "/" not in case.name:
        (tmp_path / case.name).write_bytes(case.data)
    if isinstance(case.expected, list):
        assert read_preferences(str(tmp_path / case.name), "dpo.pairs") == case.expected
        return
    with pytest.raises(UsageError) as raised:
        read_preferences(str(tmp_path / case.name), "dpo.pairs")
    [problem] = raised.value.problems
    assert problem.startswith("dpo.pairs: ") and "data.path" not in problem and "data.encoding" not in problem
    assert all(part in problem for part in case.expected), problem


def test_all_bad_rows_are_named_at_once_but_no_thousands(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(one() + one(chosen="") * 1000)
    with pytest.raises(UsageError) as raised:
        read_preferences(str(tmp_path / "a.jsonl"), "pairs")
    problems = raised.value.problems
    assert (
        "line 2" in problems[0]
        and "line 21" in problems[19]
        and problems[20:] == ("pairs: 980 more rows have problems",)
    )


@pytest.mark.parametrize("form", ["split", "splits", "saved", "saved splits", "parquet", "shards"])
def test_folders_are_read_as_data_sets_are(form, tmp_path):
    rows = datasets.Dataset.from_list([{"prompt": "p", "chosen": "a", "rejected": "b", "margin": None}])
    folder = tmp_path / "pairs"
    folder.mkdir()
    if form.startswith("saved"):
        (datasets.DatasetDict(test=rows, train=rows) if "splits" in form else rows).save_to_disk(str(folder))
    elif form in ("parquet", "shards"):
        rows.to_parquet(str(folder / ("all.parquet" if form == "parquet" else "train-00000-of-00001.parquet")))
    else:
        for name in ("all",) if form == "split" else ("train", "test"):
            (folder / f"{name}.jsonl").write_bytes(one() if name != "test" else one(chosen="held out"))
    assert read_preferences(str(folder), "pairs") == A_OVER_B


def test_several_splits_without_train_are_refused(tmp_path):
    for name in ("dev", "test"):
        (tmp_path / f"{name}.jsonl").write_bytes(one())
    with pytest.raises(UsageError, match="several splits, none called train: dev, test"):
        read_preferences(str(tmp_path), "pairs")


@pytest.mark.parametrize("column", ["label", "good"])
def test_ratings(column, tmp_path):
    rows = [{"prompt": "p", "completion": "c", column: label} for label in (True, 0, "yes")]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    assert [r.good for r in read_ratings(str(tmp_path / "a.jsonl"), "kto")] == [True, False, True]
    (tmp_path / "a.csv").write_text(f"prompt,completion,{column},annotator\np,c,1,ann\n")
    assert read_ratings(str(tmp_path / "a.csv"), "kto") == [Rating("p", "c", True, "ann")]
    (tmp_path / "a.jsonl").write_bytes(lines(rows[0] | {column: None}))
    with pytest.raises(UsageError, match=rf"kto: .*a.jsonl line 1: {column}: None is neither true nor false"):
        read_ratings(str(tmp_path / "a.jsonl"), "kto")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
FORMULAS = st.sampled_from(["=", "+", "-", "@", "\t", "\r", "'", "''=", '"', ",", "\r\n", "\n", ""])


@st.composite
def written(draw):
    prompt, chosen, rejected, name = (draw(FORMULAS) + draw(TEXTS) for _ in range(4))
    tie = draw(st.booleans()) or chosen.strip() == rejected.strip()
    margin = None if tie else draw(st.none() | st.floats(0, 1e9))
    return Preference(prompt, chosen, rejected, tie, margin, draw(st.none() | st.just(name)), draw(st.none() | TEXTS))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@settings(max_examples=30)
@given(st.lists(written(), min_size=1, max_size=4))
def test_what_is_written_is_read_again_exactly(name, tmp_path_factory, preferences):
    target = tmp_path_factory.mktemp("pairs") / name
    write_preferences(preferences, target)
    assert read_preferences(str(target), "pairs") == preferences


def test_a_saved_folder_is_read_again_exactly(tmp_path):
    preferences = [Preference("=p", "a\r\nb", "'c", tie=True), Preference("p", "a", "b", margin=0.1, annotator="ann")]
    write_preferences(preferences, tmp_path / "folder")
    assert read_preferences(str(tmp_path / "folder"), "pairs") == preferences
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    write_preferences([Preference("=A1", "+1", "-1", annotator="@x", pair="\tx")], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"prompt,chosen,rejected,annotator,pair\r\n'=A1,'+1,'-1,'@x,'\tx\r\n"


@pytest.mark.parametrize(
    ("name", "part"), [("there.csv", "exists"), ("none/a.csv", "there is no folder"), ("a.xlsx", "must end in .jsonl")]
)
def test_a_target_that_cannot_be_written_is_named_before(name, part, tmp_path):
    (tmp_path / "there.csv").touch()
    with pytest.raises(UsageError, match=f"--out: .*{part}"):
        check_target(tmp_path / name, "--out")
