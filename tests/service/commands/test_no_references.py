"""Data without references: what needs none runs, what needs one is refused by name."""

import json

import pytest

import ray_job
from configs.errors import UsageError
from tests.conftest import small_arguments, small_config

TEXT = "#Person1#: The tap has been dripping for days. #Person2#: I will come and look at it tomorrow morning. " * 2
SHORT = {"reward__parts__classifier": "null", "reward__parts__short__type": "length", "reward__parts__short__words": 5}
WITHOUT_ROUGE = {f"evaluation__metrics__{name}": "null" for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")}
SAME = {"type": "pair", "model": "m", "source": "reference"}
BARE = {"data__reference_column": "null", "evaluation__second_judge": "null", **WITHOUT_ROUGE}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts only, of which one is there twice."""
    folder = tmp_path_factory.mktemp("data")
    for split, first in {"train": 0, "test": 20, "validation": 40}.items():
        texts = [f"{TEXT}{first + n}" for n in range(12)]
        lines = (json.dumps({"dialogue": text}) + "\n" for text in [*texts, texts[0]])
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def test_a_run_from_start_to_report(data, tmp_path, capsys):
    arguments = small_arguments(out=tmp_path / "run", data__path=data, **SHORT, **BARE)
    assert ray_job.main(arguments) == 0
    report = json.loads((tmp_path / "run/report.json").read_bytes())
    assert report["data"]["train"] == {"rows": 13, "prompts": 12, "left_out": {"repeated": 1}}
    assert "<b>reference</b>" not in (tmp_path / "run/report.html").read_text()
    assert "after against before: reward" in capsys.readouterr().out


def test_the_other_commands(data, tmp_path, capsys):
    arguments = small_arguments(data__path=data, **SHORT, **BARE)
    assert ray_job.main(["explore", *arguments, f"--out={tmp_path / 'explore'}"]) == 0
    assert ray_job.main(["evaluate", "base", *arguments, f"--out={tmp_path / 'evaluate'}"]) == 0
    assert ray_job.main(["sft", *arguments]) == 2
    assert "data.reference_column: supervised fine-tuning learns from references" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ({}, "evaluation.metrics.rouge1, evaluation.metrics.rouge2"),
        ({**WITHOUT_ROUGE, "evaluation__metrics__right__type": "exact"}, "evaluation.metrics.right read"),
        ({**WITHOUT_ROUGE, "reward__parts__near__type": "chrf"}, "which reward.parts.near read"),
        (
            {**WITHOUT_ROUGE, **{f"reward__parts__same__{k}": v for k, v in SAME.items()}},
            "which reward.parts.same read",
        ),
    ],
)
def test_what_reads_references_is_refused_by_name(kept, named):
    with pytest.raises(UsageError, match="null means that the data have no references") as refused:
        small_config(data__reference_column="null", **kept)
    assert named in str(refused.value)
