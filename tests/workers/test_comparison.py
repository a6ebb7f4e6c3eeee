"""Policies side by side, against numbers worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from configs.reward_parts import RougeReward
from tests.conftest import small_config
from workers.data.prompts import Prompt
from workers.evaluation.comparison import change, compare, verdict
from workers.evaluation.measures import TOXICITY, metric_measure

PROMPTS = [Prompt("", (), ("reference",), str(i), topic) for i, topic in enumerate(["work", "home", "home"])]
COLUMNS = ("toxicity_with_prompt", "second_judge", "score", "rouge1", "rouge2", "rougeL", "rougeLsum", "tokens",
           "repetition", "copied", "kl_k1", "kl_k3")  # fmt: skip


def table(**policies):
    """Toxicity of two samples of each of three prompts: rows 0, 1, 2, and again; all other figures are 1."""
    rows = []
    for policy, toxicity in policies.items():
        for i, tox in enumerate(toxicity):
            figures = {"toxicity": tox, **dict.fromkeys(COLUMNS, 1.0), "text": f"text {i}"}
            rows.append({"policy": policy, "decoding": "sampled", "sample": i // 3, "row": i % 3, **figures})
    return pd.DataFrame(rows)


BEFORE, AFTER = [0.8, 0.4, 0.6, 0.6, 0.4, 0.2], [0.4, 0.2, 0.3, 0.2, 0.2, 0.1]


def test_figures_match_hand_computed():
    result = compare(table(a=BEFORE, b=AFTER), PROMPTS, small_config().evaluation)
    spread = result["policies"]["a"]["sampled"]["toxicity"]
    assert spread["mean"] == pytest.approx(0.5) and spread["std"] == pytest.approx(np.std(BEFORE))
    assert spread["above_half"] == pytest.approx(3 / 6) and spread["max"] == 0.8
    [comparison] = result["comparisons"]
    changed = comparison["changes"]["toxicity"]
    # By prompt: 0.7 -> 0.3, 0.4 -> 0.2, 0.4 -> 0.2; the samples of one prompt are averaged first.
    assert changed["mean"] == pytest.approx(-0.8 / 3) and changed["percent"]["mean"] == pytest.approx(-100 * 0.8 / 1.5)
    assert changed["standard_error"] == pytest.approx(np.std([0.4, 0.2, 0.2], ddof=1) / 3**0.5)
    assert changed["interval"] == pytest.approx([-0.4, -0.2]), "the extremes of three differences"
    assert comparison["verdict"][0].startswith("less toxic: yes, -53% [")


def test_each_is_compared_with_the_baseline_and_with_the_one_before():
    policies = {name: BEFORE for name in "abc"}
    pairs = [
        (c["policy"], c["against"])
        for c in compare(table(**policies), PROMPTS, small_config().evaluation)["comparisons"]
    ]
    assert pairs == [("b", "a"), ("c", "a"), ("c", "b")]
    config = small_config(evaluation__baseline="b")
    pairs = [(c["policy"], c["against"]) for c in compare(table(**policies), PROMPTS, config.evaluation)["comparisons"]]
    assert pairs == [("a", "b"), ("c", "b")]


def test_one_policy_alone_is_judged_and_compared_with_nothing():
    assert compare(table(a=BEFORE), PROMPTS, small_config().evaluation)["comparisons"] == []


def test_figures_by_topic_match_hand_computed():
    groups = compare(table(a=BEFORE, b=AFTER), PROMPTS, small_config().evaluation)["groups"]
    assert list(groups) == ["home", "work"] and groups["home"]["prompts"] == 2
    assert groups["work"]["policies"]["a"]["toxicity"] == pytest.approx(0.7)
    assert groups["home"]["policies"]["b"]["toxicity"] == pytest.approx(0.2)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """95% of 400 samples of 50 paired differences with mean 0.3; a binomial's spread is 1.1%."""
    chance, hits = np.random.default_rng(0), 0
    for seed in range(400):
        before = chance.normal(1, 1, 50)
        low, high = change(before, before + chance.normal(0.3, 0.5, 50), seed)["interval"]
        hits += low <= 0.3 <= high
    assert 0.91 <= hits / 400 <= 0.98


@pytest.mark.parametrize(
    ("interval", "expected"),
    [([-0.5, -0.1], "yes, "), ([0.1, 0.5], "no, more, "), ([-0.1, 0.1], "no detectable change, ")],
)
def test_the_verdict_follows_the_interval(interval, expected):
    changed = {"mean": 0.0, "interval": interval, "percent": None}
    rouge = metric_measure("rougeL", RougeReward(), chief=True)
    lines = verdict({"toxicity": changed, "rougeL": changed}, [*TOXICITY, rouge])
    assert lines[0].startswith(f"less toxic: {expected}")
    assert lines[1].startswith(f"ROUGE-L: {'higher' if interval[0] > 0 else 'lower' if interval[1] < 0 else 'no det'}")


def test_a_share_of_nothing_is_not_given():
    changed = change(np.array([0.0, 1.0]), np.array([0.0, 0.0]), seed=1)
    assert changed["percent"] is None and changed["mean"] == -0.5


def test_no_change_at_all_has_an_interval_without_width():
    assert change(np.ones(3), np.ones(3), seed=1)["interval"] == [0, 0]


def test_a_dropped_sample_is_counted_and_left_out():
    rows = table(a=BEFORE, b=AFTER)
    rows["score"] = [1.0, 2, 3, 3, 4, 5, 1, 2, 3, 3, 4, None]
    result = compare(rows, PROMPTS, small_config().evaluation)
    assert result["policies"]["b"]["sampled"]["dropped"] == 1
    # Row 2 keeps its first sample: 3 - mean(3, 5); the others have not changed.
    assert result["comparisons"][0]["changes"]["score"]["mean"] == pytest.approx(-1 / 3)


def test_a_figure_that_is_not_known_is_null_and_counted_and_the_others_are_as_they_were():
    rows, whole = table(a=BEFORE, b=AFTER), compare(table(a=BEFORE, b=AFTER), PROMPTS, small_config().evaluation)
    rows.loc[rows["policy"] == "b", ["toxicity", "kl_k1"]] = None
    rows.loc[(rows["policy"] == "b") & (rows["row"] > 0), "score"] = None
    result = compare(rows, PROMPTS, small_config().evaluation)
    after = result["policies"]["b"]["sampled"]
    assert after["toxicity"] == dict.fromkeys(("mean", "std", "above_half", "max"))
    assert after["unknown"] == {"toxicity": 6, "score": 4, "kl_k1": 6} and after["dropped"] == 4
    assert after["score"]["mean"] == 1.0, "the mean of those that are known"
    [comparison] = result["comparisons"]
    assert comparison["changes"]["toxicity"] is comparison["changes"]["score"] is None
    assert comparison["verdict"][0] == "less toxic: not known"
    assert comparison["changes"]["rougeL"] == whole["comparisons"][0]["changes"]["rougeL"]
    assert result["policies"]["a"] == whole["policies"]["a"] and "unknown" not in whole["policies"]["a"]["sampled"]
    assert result["groups"]["work"]["policies"]["b"]["toxicity"] is None
    json.dumps(result, allow_nan=False)


def test_distinct_compares_the_summaries_of_one_sample():
    rows = table(a=BEFORE)
    for texts, expected in (("abcabc", 1.0), ("aabbcc", 2 / 3)):
        rows["text"] = list(texts)
        figures = compare(rows, PROMPTS, small_config().evaluation)["policies"]["a"]["sampled"]
        assert figures["distinct"] == pytest.approx(expected)


def test_without_toxicity_nothing_speaks_of_it():
    """The verdict, the groups and the table are those of the configured metrics; with none, of the reward."""
    rows = table(a=BEFORE, b=AFTER)
    rows["chrf"] = rows.pop("toxicity") * 100
    rows = rows.drop(columns=["toxicity_with_prompt", "second_judge"])
    own = small_config(evaluation__metrics='{"rougeL": null, "chrf": {"type": "chrf"}}', evaluation__verdict='["chrf"]')
    result = compare(rows, PROMPTS, own.evaluation)
    assert result["comparisons"][0]["verdict"] == ["chrf: lower, -26.67 points [-40.00, -20.00]"]
    assert result["groups"]["home"]["policies"]["a"] == {"chrf": pytest.approx(40)}
    said = [*result["comparisons"][0]["verdict"], *(measure["title"] for measure in result["measures"])]
    assert "toxic" not in " ".join(said)
    bare = small_config(evaluation__metrics='{"rougeL": null}', evaluation__verdict="[]")
    result = compare(rows.drop(columns="chrf"), PROMPTS, bare.evaluation)
    assert result["comparisons"][0]["verdict"] == ["reward: no detectable change, +0.00 [+0.00, +0.00]"]


def test_parts_of_a_reward_are_reported_where_there_are_several():
    rows = table(a=BEFORE, b=AFTER).assign(**{"score/short": 2.0})
    names = [measure["name"] for measure in compare(rows, PROMPTS, small_config().evaluation)["measures"]]
    assert "score/short" not in names
    names = [m["name"] for m in compare(rows.assign(**{"score/b": 1}), PROMPTS, small_config().evaluation)["measures"]]
    assert names[names.index("score") + 1 :][:2] == ["score/short", "score/b"]
