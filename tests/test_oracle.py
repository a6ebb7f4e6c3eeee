"""Golden cases: those that ship with the tests, and all in the folder named by SEQRLHF_ORACLE."""

import json
import math
import os
import shutil
from pathlib import Path

import pytest

from tests import oracle, oracle_settings

HERE = Path(__file__).parent / "golden"
FOLDER = os.environ.get("SEQRLHF_ORACLE", "")


def replayed(folder: Path, capsys) -> list[dict]:
    oracle.main([str(folder), "--json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_shipped_golden_cases_pass(capsys):
    outcomes = replayed(HERE, capsys)
    assert {o["case"] for o in outcomes} == {"J_grad_accum", "F_kl_full"}
    assert all(o["passes"] for o in outcomes), outcomes


@pytest.mark.skipif(not Path(FOLDER, "cases").is_dir(), reason="SEQRLHF_ORACLE names no folder with golden cases")
def test_all_golden_cases_pass(capsys):
    outcomes = replayed(Path(FOLDER), capsys)
    assert len(outcomes) >= 12 and all(o["passes"] for o in outcomes), outcomes


@pytest.mark.parametrize(
    ("field", "value"),
    [("whiten_rewards", True), ("is_encoder_decoder", False),
     ("world_size", 2), ("a_new_field", 1), ("max_grad_norm", 0.5), ("kl_penalty", "k9")],
)  # fmt: skip
def test_an_unsupported_setting_is_refused_by_name(field, value):
    settings = json.loads((HERE / "cases/F_kl_full/config.json").read_text())
    settings["ppo"][field] = value
    with pytest.raises(oracle_settings.Refused, match=field):
        oracle_settings.algorithm_settings(settings, [])


def test_a_changed_number_fails_the_case(tmp_path, capsys):
    """The comparison can fail: here the case's discount differs from the one its tensors were made with."""
    shutil.copytree(HERE, tmp_path / "golden")
    shutil.rmtree(tmp_path / "golden/cases/F_kl_full")
    file = tmp_path / "golden/cases/J_grad_accum/config.json"
    settings = json.loads(file.read_text())
    settings["ppo"]["gamma"] = 0.99
    file.write_text(json.dumps(settings))
    [outcome] = replayed(tmp_path / "golden", capsys)
    assert not outcome["passes"] and outcome["statistics"] > 1e-3 and outcome["gradients"] > 1e-3


def test_nan_is_the_largest_difference():
    differences = oracle.Differences()
    for difference in (1e-9, math.nan, 1e-9):
        differences.add("statistics", "some", difference)
    assert not differences.passes()


def test_response_masks_are_honoured(tmp_path):
    """Masked positions are neither rewarded nor trained; the last unmasked one gets the score."""
    step = {"queries": [[5, 6]], "responses": [[0, 7, 8, 9, 10, 1]], "response_masks": [[1, 0, 1, 0]]}
    assert oracle.rollouts(step, 0).completion_mask.tolist() == [[False, True, False, True, False]]
