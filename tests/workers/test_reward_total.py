"""The parts of a reward together: weights, gates, failures, and the worker that reports them."""

import json
import math
import pickle
from dataclasses import replace

import pytest
import torch

from cluster.plan import make_unit
from configs.rewards import RewardConfig
from tests.conftest import settings_of, small_config
from tests.workers.rewards import MODEL, function, rewards, tiny_classifier
from workers.reward.combine import combine
from workers.reward.failures import RewardError
from workers.reward.items import Item, MissingColumn, items_of
from workers.reward.remote import ServerError
from workers.reward.worker import RewardWorker

NAN, RULE = math.nan, {"type": "exact"}
A, B, C = [1.0, 2.0, -3.0], [4.0, 0.5, 2.0], [0.2, 0.7, 0.7]
TOTALS = {
    "a weighted sum": ("sum", {"a": {"weight": 2}, "b": {}}, [6.0, 4.5, -4.0]),
    "the lowest": ("min", {"a": {}, "b": {}}, [1.0, 0.5, -3.0]),
    "a product": ("product", {"a": {}, "b": {"weight": 0.5}}, [2.0, 0.5, -3.0]),
    "clipped": ("sum", {"a": {"clip": [-1, 1]}, "b": {}}, [5.0, 1.5, 1.0]),
    "standardised": ("sum", {"a": {"standardise": {"mean": 1, "std": 2}}}, [0.0, 0.5, -2.0]),
    "standardised, clipped, weighted": (
        "sum",
        {"a": {"standardise": {"mean": 1, "std": 2}, "clip": [-1, 1], "weight": 3}},
        [0.0, 1.5, -3.0],
    ),
    "a gate": ("sum", {"a": {}, "b": {}, "c": {"gate": 0.7}}, [0.0, 2.5, -1.0]),
    "a gate below all": ("product", {"a": {}, "c": {"gate": -5}}, A),
    "gates alone": ("sum", {"b": {"gate": 1}, "c": {"gate": 0.5}}, [0.0, 0.0, 1.0]),
    "measured only": ("min", {"a": {"weight": 0}, "b": {}}, B),
    "nothing rewarded": ("sum", {"a": {"weight": 0}}, [0.0, 0.0, 0.0]),
}


def config(how, parts):
    return RewardConfig.model_validate({"combine": how, "parts": {name: RULE | part for name, part in parts.items()}})


@pytest.mark.parametrize("case", TOTALS)
def test_totals_match_hand_computed(case):
    how, parts, expected = TOTALS[case]
    scores = {name: torch.tensor({"a": A, "b": B, "c": C}[name]) for name in parts}
    torch.testing.assert_close(combine(config(how, parts), scores), torch.tensor(expected))


@pytest.mark.parametrize("how", ["sum", "min", "product"])
def test_a_part_that_failed_is_skipped_or_takes_the_completion_with_it(how):
    scores = {"a": torch.tensor([NAN, 2.0, NAN]), "b": torch.tensor([3.0, NAN, NAN])}
    skip, drop = {"on_failure": "skip"}, {"on_failure": "drop"}
    found = combine(config(how, {"a": skip, "b": skip}), scores).tolist()
    assert found[:2] == [3.0, 2.0] and math.isnan(found[2]), "with no part left there is no score"
    found = combine(config(how, {"a": skip, "b": drop}), scores).tolist()
    assert found[0] == 3.0 and math.isnan(found[1]) and math.isnan(found[2])
    gated = combine(config(how, {"b": skip, "a": {"gate": 1.0, "on_failure": "drop"}}), scores)
    assert gated.isnan().tolist() == [True, True, True], "a gate that failed lets no completion pass"


@pytest.fixture
def rollouts(rollout_worker, start, prompts):
    made = rollout_worker.summarize(make_unit(prompts, [0, 1, 2], (4, 2), seed=1), start[0])
    return replace(made, texts=("thanks a lot", "you idiot b", ""))


def worker(classifier: dict | None = None, **parts: dict) -> RewardWorker:
    given = {"reward__parts": json.dumps({"classifier": classifier, **parts})}
    return RewardWorker(settings_of(small_config(**given), "reward"))


def test_each_part_is_reported_by_its_name(rollouts, reward_worker):
    both = worker(
        {
            "type": "classifier",
            "model": MODEL,
            "label": "nothate",
            "dtype": "float32",
            "weight": 0.5,
            "toxicity": False,
        },
        thanks={**function("nice"), "weight": 3},
    )
    scores = both.score(rollouts)
    assert scores.parts["thanks"].tolist() == [1, 0, 0]
    assert torch.equal(scores.parts["classifier"], reward_worker.score(rollouts).scores)
    torch.testing.assert_close(scores.scores, 0.5 * scores.parts["classifier"] + 3 * scores.parts["thanks"])
    assert set(scores.watched) == {"rougeL", "second_judge"}, "no part measures toxicity"
    rows = both.judge(rollouts)
    assert [row["score/thanks"] for row in rows] == [1, 0, 0] and "toxicity" not in rows[0]
    assert rows[1]["score"] == pytest.approx(scores.scores[1].item())


def test_rules_alone_load_no_model(rollouts, monkeypatch):
    import workers.reward.classifier as module

    monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("a model is loaded"))
    rules = worker(None, short={"type": "length", "words": 2}, like={"type": "rouge"})
    assert rules.probe() == {}
    scores = rules.score(rollouts)
    assert scores.parts["short"].tolist() == [-0.5, -0.5, -1.0] and "toxicity" not in scores.watched
    torch.testing.assert_close(scores.scores, scores.parts["short"] + scores.parts["like"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("picky", "failed: RuntimeError: rude!"),
        ("undefined", "returned nan"),
        ("nothing", "returned None"),
        ("enormous", "returned 1e\\+308"),
        ("short", "failed: ValueError: 2 scores for 3 completions"),
    ],
)
def test_a_failure_ends_the_run_or_drops_or_skips_the_completion(rollouts, name, reason):
    where = "row 1, completion 'you idiot b'" if name != "short" else "row 0, completion 'thanks a lot'"
    with pytest.raises(RewardError, match=rf"reward mine {reason} \(unit 2 of step 4, {where}\); fix it, or"):
        worker(mine=function(name)).score(rollouts)
    kept = [] if name == "short" else [0, 2]
    for policy, dropped in [("drop", [i for i in range(3) if i not in kept]), ("skip", [])]:
        parts = {"mine": function(name) | {"on_failure": policy}, "words": {"type": "length", "words": 3}}
        scores = worker(**parts).score(rollouts)
        assert scores.dropped.nonzero().flatten().tolist() == dropped
        assert [i for i in range(3) if not scores.parts["mine"][i].isnan()] == kept
        if policy == "skip":
            failed = scores.parts["mine"].isnan()
            assert torch.equal(scores.scores[failed], scores.parts["words"][failed])


def test_without_a_place_to_name_nothing_is_raised():
    scored = rewards(mine=function("picky"), other={"type": "length", "words": 2})([Item("you idiot"), Item("a b")])
    assert scored.total.isnan().tolist() == [True, False] and scored.parts["other"].tolist() == [0, 0]


def test_an_item_without_a_column_fails_alone(tmp_path):
    pair = {"type": "pair", "model": tiny_classifier(tmp_path, num_labels=1), "source": "article"}
    scored = rewards(pair=pair)([Item("a", row={"article": "b"}), Item("a"), Item("c", row={"article": "d"})])
    assert scored.total.isnan().tolist() == [False, True, False]


def test_settings_and_errors_reach_other_processes(config, reward_worker):
    """Ray pickles both; an error that cannot be made again hides what went wrong."""
    settings = settings_of(config, "reward")
    assert pickle.loads(pickle.dumps(settings)) == settings
    for error in (RewardError("reward mine failed"), MissingColumn("no column"), ServerError("503")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)


def test_items_hold_the_columns_and_the_tokens(rollouts):
    item = items_of(rollouts)[1]
    unit = rollouts.unit
    assert (item.prompt, item.references, item.row) == (unit.prompts[1], unit.references[1], unit.columns[1])
    assert item.row["dialogue"] in item.prompt and item.completion == "you idiot b"
    assert list(item.completion_ids) == rollouts.completion_ids[1][rollouts.completion_mask[1]].tolist()
