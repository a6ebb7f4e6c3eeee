"""Figures of an evaluation against numbers worked out by hand."""

import numpy as np
import pytest

from workers.evaluation import Evaluation, compare, compare_groups
from workers.metrics import ROUGE_TYPES, Rouge
from workers.prompts import Prompt


def evaluation(toxicity, rouge=(50, 50, 50, 50), texts="abcd"):
    column = np.array(rouge, dtype=float)
    return Evaluation(rows=np.array([1, 0, 1, 0]), texts=list(texts), scores=np.array([1.0, 2.0, 3.0, 4.0]),
                      toxicity=np.array(toxicity), tokens=np.array([2, 4, 6, 8]),
                      rouge=dict.fromkeys(ROUGE_TYPES, column))  # fmt: skip


def test_rouge_matches_hand_computed_and_takes_the_best_reference():
    scores = Rouge().compute(predictions=["the cat sat", "a b"], references=[["dogs ran", "the cat ran"], ["c d"]])
    assert scores["rouge1"] == pytest.approx([100 * 2 / 3, 0])
    assert scores["rouge2"] == pytest.approx([50, 0])
    assert scores["rougeL"] == pytest.approx([100 * 2 / 3, 0])


def test_comparison_matches_hand_computed():
    result = compare(evaluation([0.8, 0.4, 0.6, 0.6]), evaluation([0.2, 0.2, 0.2, 0.0], rouge=(52, 49, 50, 49)))
    assert result["toxicity"]["before"] == pytest.approx({"mean": 0.6, "std": 0.02**0.5})
    assert result["toxicity"]["improvement_percent"]["mean"] == pytest.approx(75)
    # By prompt: row 0 falls from 0.5 to 0.1, row 1 from 0.7 to 0.2; the samples of one prompt are averaged first.
    assert result["toxicity"]["difference"] == pytest.approx({"mean": -0.45, "standard_error": 0.05})
    # Row 0: -1, row 1: +1.
    assert result["rouge"]["difference"]["rougeL"] == pytest.approx({"mean": 0, "standard_error": 1})
    assert result["tokens"]["before"]["mean"] == 5


def test_figures_by_group_match_hand_computed():
    prompts = [Prompt("", (), (), group) for group in ("work", "home")]
    groups = compare_groups(evaluation([0.8, 0.4, 0.6, 0.6]), evaluation([0.2] * 4, rouge=(1, 2, 3, 4)), prompts)
    assert groups["work"]["toxicity"] == pytest.approx({"before": 0.5, "after": 0.2})
    assert groups["home"]["rougeL"] == {"before": 50, "after": 2} and groups["home"]["prompts"] == 1


def test_no_toxicity_at_all_is_no_improvement_and_no_error():
    result = compare(evaluation([0.0] * 4), evaluation([0.0] * 4))
    assert result["toxicity"]["improvement_percent"] == {"mean": 0.0, "std": 0.0}


def test_a_dropped_sample_is_counted_and_left_out():
    before, after = evaluation([0.8, 0.4, 0.6, 0.6]), evaluation([0.2, 0.2, 0.2, 0.0])
    after.scores[0] = np.nan
    result = compare(before, after)
    assert result["dropped"] == {"before": 0, "after": 1}
    # Row 1 keeps its second sample: scores 3 - mean(1, 3); row 0 both: no change.
    assert result["score"]["difference"]["mean"] == pytest.approx(0.5)
    assert after.sample(0)["score"] is None


def test_distinct_compares_the_summaries_of_one_sample():
    assert evaluation([0] * 4, texts="abab").distinct() == 1.0
    assert evaluation([0] * 4, texts="aabc").distinct() == 0.75
