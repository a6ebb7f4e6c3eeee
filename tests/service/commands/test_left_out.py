"""Every command says how many rows of the data it leaves out, and why."""

import json

import pytest

import ray_job
from cluster.sft import examples
from tests.conftest import small_arguments, small_config

TEXT = "#Person1#: The tap has been dripping for days. #Person2#: I will come and look at it tomorrow morning. " * 2
LINES = (
    "train: 12 prompts from 17 rows; left out: 1 without a text, 1 shorter than data.min_chars, 2 without a reference, "
    "1 repeating a text and its references",
    "test: 6 prompts from 7 rows; left out: 1 over data.max_prompt_tokens",
    "1 prompts of test are also training prompts",
)
COUNTS = {
    "train": {"rows": 17, "prompts": 12, "left_out": {"empty": 1, "too_short": 1, "no_reference": 2, "repeated": 1}},
    "test": {"rows": 7, "prompts": 6, "left_out": {"too_many_tokens": 1}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Splits with rows of each kind; a text of rare characters has many tokens."""
    folder = tmp_path_factory.mktemp("data")
    rows = [(f"{TEXT}{n}", ["one", "two"]) for n in range(12)]
    odd = [(None, "s"), ("short", "s"), (f"{TEXT}x", ""), (f"{TEXT}y", None), rows[0]]
    test = [(f"{TEXT}{n}", "s") for n in range(11, 17)] + [("語" * 400, "s")]
    for split, texts in {"train": rows + odd, "test": test, "validation": rows[:2]}.items():
        lines = (json.dumps({"dialogue": text, "summary": summary}) + "\n" for text, summary in texts)
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert ray_job.main(small_arguments(out=folder, data__path=data, steps=1, evaluation__rows=2)) == 0
    return folder


def test_a_run_in_its_log_its_start_record_and_its_report(run):
    log = (run / "log.txt").read_text().splitlines()
    assert all(any(line.endswith(said) for line in log) for said in LINES)
    for name in ("start.json", "report.json"):
        assert json.loads((run / name).read_bytes())["data"] == COUNTS
    page = (run / "report.html").read_text()
    assert all(line.partition(": ")[2] in page for line in LINES[:2])


def test_no_target_of_fine_tuning_is_empty(data):
    """Rows without a summary taught the model to stop at once."""
    found = examples(small_config(data__path=data))
    assert len(found.train) == 24 and all(target for *_, target in found.train), "their end is added later"


@pytest.mark.slow
def test_the_other_commands_in_what_they_print(data, tmp_path, capsys):
    for command, splits in {"doctor": LINES, "evaluate": LINES, "sft": LINES[:1]}.items():
        arguments = small_arguments(data__path=data, out=tmp_path / command, evaluation__rows=2, sft__epochs=0.1)
        assert ray_job.main([command, *arguments]) == 0
        shown = capsys.readouterr()
        words = " ".join(f"{shown.out} {shown.err}".replace("│", " ").split())
        assert all(line in words for line in splits), command
