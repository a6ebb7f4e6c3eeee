"""Each sign of reward hacking, in steps and evaluations made for it; and no warning about a healthy run."""

import pytest

from configs.evaluation import WatchConfig
from configs.reward_parts import RougeReward
from service.run.reward_hacking import HackingWatcher, evaluation_warnings, training_warnings
from workers.evaluation.measures import metric_measure, record

GOOD = {
    "reward/mean": (0.0, 1.0),
    "watch/rougeL": (80.0, 80.0),
    "watch/second_judge": (0.3, 0.1),
    "tokens/completions_mean": (30.0, 30.0),
    "watch/commonest": (0.1, 0.1),
    "objective/kl_k3": (0.0, 2.0),
}
SIGNS = {
    "watch/rougeL": ({"watch/rougeL": (80.0, 70.0)}, "ROUGE-L falls: 80.0 -> 70.0"),
    "judge": ({"watch/second_judge": (0.3, 0.5)}, "second judge sees more toxicity: 0.301 -> 0.501"),
    "length": ({"tokens/completions_mean": (30.0, 5.0)}, "summary lengths have collapsed: 30 -> 5 tokens"),
    "commonest": ({"watch/commonest": (0.1, 0.9)}, "90% of the prompts get the same summary"),
    "kl": ({"objective/kl_k3": (0.0, 30.0)}, "KL 30.0 nats"),
}


def steps(**changed):
    """Ten steps: five with the first value of each metric and five with the second, with a little noise."""
    ends = {**GOOD, **changed}
    return [{name: pair[i // 5] + 0.001 * (i % 3) for name, pair in ends.items()} for i in range(10)]


@pytest.mark.parametrize("kind", SIGNS)
def test_each_sign_alone_is_reported(kind):
    changed, sentence = SIGNS[kind]
    found = training_warnings(steps(**changed), WatchConfig())
    assert list(found) == [kind] and sentence in found[kind]


def test_neither_a_healthy_run_nor_one_that_has_just_started_is_warned_about():
    assert training_warnings(steps(), WatchConfig()) == {}
    everything = {name: pair for changed, _ in SIGNS.values() for name, pair in changed.items()}
    assert training_warnings(steps(**everything)[:9], WatchConfig()) == {}
    assert len(training_warnings(steps(**everything), WatchConfig())) == 5


def test_rouge_may_fall_where_the_reward_does_not_rise():
    assert training_warnings(steps(**{"watch/rougeL": (80.0, 70.0), "reward/mean": (1.0, 1.0)}), WatchConfig()) == {}


def test_any_metric_that_is_watched_may_fall():
    falling = {"watch/chrf": (50.0, 40.0)}
    assert training_warnings(steps(**falling), WatchConfig()) == {
        "watch/chrf": "the reward rises while chrf falls: 50.001 -> 40.001"
    }
    for name, pair in [("watch/words", (-0.2, -0.4)), ("watch/toxicity", (0.5, 0.1)), ("watch/chrf", (50.0, 49.0))]:
        assert list(training_warnings(steps(**{name: pair}), WatchConfig())) == [name] * (name == "watch/words")


def test_the_kl_limit_is_a_setting():
    assert list(training_warnings(steps(), WatchConfig(max_kl=1))) == ["kl"]


def test_a_run_without_a_second_judge_is_watched_too():
    without = [{k: v for k, v in step.items() if k != "watch/second_judge"} for step in steps()]
    assert training_warnings(without, WatchConfig()) == {}


def test_each_kind_is_reported_once_during_training():
    said = []
    watcher = HackingWatcher([], WatchConfig(), said.append)
    for step in steps(**{"objective/kl_k3": (0.0, 30.0)}) * 2:
        watcher.add(step)
    assert len(said) == 1 and said[0].startswith("warning: the policy is far from its reference")
    resumed = HackingWatcher(steps(**{"objective/kl_k3": (0.0, 30.0)}), WatchConfig(), said.append)
    resumed.add(steps()[-1])
    assert len(said) == 1, "what was reported before the run was resumed is not reported again"


def evaluation(tokens=30.0, distinct=1.0, kl=1.0, **intervals):
    changes = {name: {"interval": interval, "mean": sum(interval) / 2} for name, interval in intervals.items()}
    then = {"tokens": {"mean": 30.0}, "distinct": 1.0, "kl_k3": {"mean": 0.0}}
    now = {"tokens": {"mean": tokens}, "distinct": distinct, "kl_k3": {"mean": kl}}
    comparison = {"policy": "after", "against": "before", "changes": {"score": {"interval": [0.5, 1.5]}, **changes}}
    return {"policies": {"before": {"sampled": then}, "after": {"sampled": now}}, "baseline": "before",
            "measures": record([metric_measure("rougeL", RougeReward(), chief=True)]),
            "comparisons": [comparison]}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rougeL": (-3.0, -1.0)}, "after: the reward is higher but ROUGE-L is 2.0 points lower"),
        ({"second_judge": (0.1, 0.3)}, "but so is the second judge's toxicity, by 0.200"),
        ({"tokens": 5.0}, "summary lengths changed considerably: 30 -> 5"),
        ({"distinct": 0.2}, "only 20% of the summaries are distinct, 100% before"),
        ({"kl": 50.0}, "KL 50.0 nats"),
    ],
)
def test_the_same_signs_are_found_in_an_evaluation(given, expected):
    [found] = evaluation_warnings(evaluation(**{"rougeL": (-1.0, 1.0), **given}), WatchConfig())
    assert expected in found
    assert evaluation_warnings(evaluation(rougeL=(-1.0, 1.0)), WatchConfig()) == []
