"""A part of the reward that changes: its scale stays, its version travels with the call, what is watched stays."""

import math
from dataclasses import replace

import pytest
import torch

from configs.errors import UsageError
from configs.reward_change import RewardChange, only_classifier
from configs.reward_parts import Standardise
from configs.rewards import RewardConfig
from tests.conftest import settings_of, small_config
from tests.workers.rewards import CPU, MODEL, function, rewards, tiny_classifier
from workers.reward.anchors import Spread, anchored, same_scale, with_references
from workers.reward.combine import combine, standardised
from workers.reward.items import Item
from workers.reward.rewards import Rewards
from workers.reward.versions import Refusal, RewardVersion, Trial
from workers.reward.worker import RewardWorker


def items(*texts: str) -> list[Item]:
    return [Item(text) for text in texts]


def test_the_scale_matches_hand_computed():
    """(9 - m) / s is 1 + 2 and (5 - m) / s is 1 - 2: the new 7 ± 2 on the old 1 ± 2, then 10 ± 4 on it."""
    assert Spread.of(torch.tensor([5.0, 9.0])) == (7, 2)
    assert same_scale(Spread(1, 2), Spread(7, 2)) == Standardise(mean=6, std=1)
    assert same_scale(Spread(1, 2), Spread(10, 4)) == Standardise(mean=8, std=2)


def test_the_new_part_has_the_old_one_s_mean_and_deviation_on_the_anchors():
    """Lengths 2 and 4: minus their relative distance from 2 is [0, -1], from 4 [-1/2, 0]."""
    old, new = (rewards(short={"type": "length", "words": words}) for words in (2, 4))
    trial = anchored(old, new, "short", [items("a b"), items("a b c d")])
    assert trial.reward.parts["short"].standardise == Standardise(mean=0, std=0.5)
    expected = {"texts": 2, "old_mean": -0.5, "old_std": 0.5, "new_mean": -0.25, "new_std": 0.25}
    assert trial.anchors == expected
    scores = standardised(trial.reward.parts["short"], torch.tensor([-0.5, 0.0]))
    assert Spread.of(scores) == (-0.5, 0.5)


def test_a_part_that_was_standardised_before_hands_on_that_scale_and_weights_stay_out_of_it():
    """The old one's [0, -1] are standardised to [3, 1] and weigh 10, which the new one's weight replaces later."""
    old = rewards(short={"type": "length", "words": 2, "weight": 10, "standardise": {"mean": -1.5, "std": 0.5}})
    new = rewards(short={"type": "length", "words": 4, "weight": 10})
    trial = anchored(old, new, "short", [items("a b", "a b c d")])
    assert (trial.anchors["old_mean"], trial.anchors["old_std"]) == (2, 1)
    total = combine(trial.reward, {"short": torch.tensor([-0.5, 0.0])})
    assert total.tolist() == [10.0, 30.0]


def test_references_are_anchors_too_and_texts_that_a_part_fails_for_are_not():
    sampled = [Item("b", references=("a b", "other")), Item("c")]
    assert [item.completion for item in with_references(sampled)] == ["b", "c", "a b"]
    old = rewards(short={"type": "length", "words": 2})
    new = rewards(short={**function("undefined"), "on_failure": "drop"})
    with pytest.raises(UsageError, match="the old one does not tell the 1 anchor texts apart"):
        anchored(old, new, "short", [items("a", "b")])
    picky = rewards(short=function("undefined"))
    with pytest.raises(Exception, match="reward short returned nan"):
        anchored(old, picky, "short", [items("a", "b")])


@pytest.mark.parametrize("which", ["old", "new"])
@pytest.mark.parametrize("texts", [("a", "b c"), ("a", "b c", "d")])
def test_without_a_spread_there_is_no_scale_to_keep(which, texts):
    """A constant's deviation is not 0 but rounding."""
    spread, constant = rewards(mine={"type": "length", "words": 1}), rewards(mine=function("tenth"))
    pair = (spread, constant) if which == "new" else (constant, spread)
    with pytest.raises(UsageError, match=f"the {which} one does not tell the {len(texts)} anchor texts apart"):
        anchored(*pair, "mine", [items(*texts)])


def test_what_only_uses_scores_shares_the_loaded_part():
    first = rewards(mine={"type": "classifier", "model": MODEL, "label": "nothate"})
    used = RewardChange("mine", {"weight": 2, "clip": [0, 1], "toxicity": True}).applied_to(first.config)
    other = RewardChange("mine", {"label": "hate"}).applied_to(first.config)
    assert Rewards(used, CPU, [first]).parts["mine"] is first.parts["mine"]
    assert Rewards(other, CPU, [first]).parts["mine"] is not first.parts["mine"]
    assert not RewardChange("mine", {"weight": 2, "clip": [0, 1]}).needs_anchors
    assert RewardChange("mine", {"label": "hate"}).needs_anchors
    assert not RewardChange("mine", {"label": "hate", "standardise": None}).needs_anchors


REWARD = RewardConfig.model_validate(
    {"parts": {"classifier": {"type": "classifier", "model": MODEL, "label": "nothate"},
               "own": function("nice"), "short": {"type": "length", "words": 3}}}
)  # fmt: skip


@pytest.mark.parametrize(
    ("part", "settings", "expected"),
    [
        ("nope", {"weight": 1}, "reward.parts.nope: the reward has no such part; it has classifier, own, short"),
        ("classifier", {}, "reward.parts.classifier: nothing to change"),
        ("classifier", {"weight": "x"}, "reward.parts.classifier.weight: "),
        ("classifier", {"weight": math.nan}, "reward.parts.classifier.weight: "),
        ("classifier", {"wieght": 1}, "reward.parts.classifier.wieght: no such key; did you mean"),
        ("classifier", {"words": 3}, "reward.parts.classifier.words: is not a setting of this `type`"),
        ("classifier", {"type": "length", "words": 3}, "reward.parts.classifier.type: cannot change while"),
        ("own", {"function": "os:system"}, "reward.parts.own.function: cannot change while a run goes on"),
        ("short", {"gate": 0, "weight": 2}, "a part with a gate adds nothing"),
    ],
)
def test_a_change_that_is_none_is_refused_by_field(part, settings, expected):
    with pytest.raises(UsageError) as error:
        RewardChange(part, settings).applied_to(REWARD)
    assert expected in error.value.problems[0]


def test_the_part_that_a_change_means_is_the_only_classifier():
    assert only_classifier(REWARD) == "classifier"
    with pytest.raises(UsageError, match="part: name one; the reward has no classifier, and its parts are short"):
        only_classifier(RewardConfig.model_validate({"parts": {"short": {"type": "length", "words": 3}}}))


@pytest.fixture(scope="module")
def rollouts(parts):
    return parts[0]


@pytest.fixture
def worker() -> RewardWorker:
    return RewardWorker(settings_of(small_config(), "reward"))


def changed(worker, number, **settings) -> RewardVersion:
    return RewardVersion(number, number, RewardChange("classifier", settings).applied_to(worker.config))


def test_scores_depend_on_the_version_of_the_call_alone(worker, rollouts, tmp_path):
    other = tiny_classifier(tmp_path / "other", num_labels=1)
    first = RewardVersion(0, 0, worker.config)
    swapped = changed(worker, 1, model=other, label=None, toxicity=False, weight=2)
    before = worker.score(rollouts)
    new = worker.score(rollouts, swapped, first)
    assert (before.version, new.version, len(before.before)) == (0, 1, 0)
    assert not torch.equal(new.scores, before.scores) and torch.equal(new.scores, 2 * new.parts["classifier"])
    assert torch.equal(new.before, before.scores)
    assert torch.equal(new.watched["toxicity"], before.watched["toxicity"]), "watched by the part of the start"
    assert torch.equal(worker.score(rollouts, first).scores, before.scores)
    fresh = RewardWorker(settings_of(small_config(), "reward")).score(rollouts, swapped)
    assert torch.equal(fresh.scores, new.scores), "a worker that has just started"
    assert worker.judge(rollouts, swapped.reward)[0]["score"] == new.scores[0].item()


def test_a_worker_forgets_versions_that_are_no_longer_asked_for(worker, rollouts):
    versions = [changed(worker, number, weight=number) for number in (1, 2, 3)]
    for before, now in zip([None, *versions], versions, strict=False):
        worker.score(rollouts, now, before)
    assert [loaded.config for loaded in worker.loaded.others] == [one.reward for one in versions[1:]]
    worker.score(rollouts, versions[2])
    assert [loaded.config for loaded in worker.loaded.others] == [versions[2].reward]


def test_a_reward_is_tried_before_it_is_used_and_its_faults_are_an_answer(worker, rollouts, tmp_path):
    good = tiny_classifier(tmp_path / "good", num_labels=1)
    proposed = changed(worker, 1, model=good, label=None, toxicity=False, probe=None).reward
    trial = worker.try_out(worker.config, proposed, "classifier", rollouts)
    assert isinstance(trial, Trial) and trial.anchors["texts"] == 2 * len(rollouts.texts)
    texts = with_references([Item(text, references=refs) for text, refs in
                             zip(rollouts.texts, rollouts.unit.references, strict=True)])  # fmt: skip
    old, new = (Rewards(reward, CPU)(texts).total for reward in (worker.config, trial.reward))
    assert Spread.of(new) == pytest.approx(Spread.of(old), abs=1e-4)
    (tmp_path / "good/model.safetensors").write_bytes(b"x")
    faults = {
        "damaged": replace_model(proposed, good),
        "reversed": changed(worker, 1, label="hate").reward,
        "negative": changed(worker, 1, weight=-1).reward,
        "gone": replace_model(proposed, str(tmp_path / "nowhere")),
    }
    worker.loaded.keep()
    answers = {name: worker.try_out(worker.config, reward, "classifier") for name, reward in faults.items()}
    assert all(isinstance(answer, Refusal) for answer in answers.values())
    problems = {name: answer.problems[0] for name, answer in answers.items()}
    assert "probe.better" in problems["reversed"] and "rewards bad texts" in problems["negative"]
    assert all(problem.startswith("reward.parts.classifier") for problem in problems.values())


def replace_model(reward: RewardConfig, model: str) -> RewardConfig:
    return RewardChange("classifier", {"model": model}).applied_to(reward)


def test_units_of_one_step_that_different_versions_scored_are_not_learnt_from(experiences, config):
    from learner.batch import collate

    first, second, *_ = experiences
    mixed = [first, replace(second, scores=replace(second.scores, version=1))]
    with pytest.raises(ValueError, match=r"several versions of the reward: \[0, 1\]"):
        collate(mixed, config.algorithm)
