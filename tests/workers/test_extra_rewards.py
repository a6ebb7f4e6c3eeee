"""Further rewards: what they give, and what happens when one fails."""

import json
import math
from dataclasses import replace

import pytest
import torch

from cluster.plan import make_unit
from tests.conftest import settings_of, small_config
from workers.reward.extra_rewards import RewardError, call_reward, make_extra
from workers.reward.worker import RewardWorker


def reward(*extras, **settings):
    return small_config(reward__extra=json.dumps(extras), **settings)


def nice(prompts, completions, references):
    return [1.0 if "thanks" in text else 0.0 for text in completions]


def picky(prompts, completions, references):
    if any("idiot" in text for text in completions):
        raise RuntimeError("rude!")
    return [2.0] * len(completions)


def short(prompts, completions, references):
    return [1.0] * (len(completions) - 1) if len(completions) > 1 else [1.0]


def undefined(prompts, completions, references):
    return [math.nan if text.endswith("b") else 1.0 for text in completions]


def enormous(prompts, completions, references):
    """Finite, but not in float32."""
    return [1e308 if "idiot" in text else 1.0 for text in completions]


@pytest.fixture
def rollouts(rollout_worker, start, prompts):
    made = rollout_worker.summarize(make_unit(prompts, [0, 1, 2], (4, 2), seed=1), start[0])
    return replace(made, texts=("thanks a lot", "you idiot b", ""))


def extra(function):
    [config] = reward(
        {"type": "function", "name": "mine", "function": f"tests.workers.test_extra_rewards:{function}"}
    ).reward.extra
    return make_extra(config)


def test_rewards_match_hand_computed(rollouts):
    extras = {"type": "length", "name": "short", "words": 2}, {"type": "rouge", "name": "like", "variant": "rouge1"}
    length, rouge = map(make_extra, reward(*extras).reward.extra)
    assert length((), rollouts.texts, ()) == [-0.5, -0.5, -1.0]
    assert rouge((), ["a b", "c"], [["a c", "a b c"], ["d"]]) == pytest.approx([0.8, 0.0])


def test_score_is_the_weighted_sum_and_each_part_is_reported(rollouts, reward_worker):
    path = "tests.workers.test_extra_rewards:nice"
    config = reward({"type": "function", "name": "thanks", "weight": 3, "function": path}, reward__weight=0.5)
    scores = RewardWorker(settings_of(config, "reward")).score(rollouts)
    assert scores.parts["thanks"].tolist() == [1, 0, 0]
    assert torch.equal(scores.parts["classifier"], reward_worker.score(rollouts).scores)
    torch.testing.assert_close(scores.scores, 0.5 * scores.parts["classifier"] + 3 * scores.parts["thanks"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("picky", r"reward mine raised RuntimeError: rude! \(unit 2 of step 4, row 1, completion 'you idiot b'\)"),
        ("undefined", r"reward mine returned nan \(unit 2 of step 4, row 1"),
        ("enormous", r"reward mine returned 1e\+308 \(unit 2 of step 4, row 1"),
        ("short", r"reward mine returned 2 scores for 3 completions \(unit 2 of step 4, row 0"),
    ],
)
def test_a_reward_that_fails_is_named_with_the_sample(rollouts, function, message):
    with pytest.raises(RewardError, match=message):
        call_reward("mine", extra(function), rollouts, drop=False)


@pytest.mark.parametrize(
    ("function", "kept"), [("picky", [0, 2]), ("undefined", [0, 2]), ("enormous", [0, 2]), ("short", [])]
)
def test_or_the_sample_is_dropped(rollouts, function, kept):
    scores = call_reward("mine", extra(function), rollouts, drop=True)
    assert [i for i, score in enumerate(scores) if not math.isnan(score)] == kept
    path = f"tests.workers.test_extra_rewards:{function}"
    config = reward({"type": "function", "name": "mine", "function": path}, reward__on_failure="drop")
    dropped = RewardWorker(settings_of(config, "reward")).score(rollouts).dropped.tolist()
    assert dropped == [i not in kept for i in range(3)]


def test_a_function_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"cannot load function tests\.workers\.test_extra_rewards:none"):
        extra("none")
