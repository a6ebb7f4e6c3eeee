"""Steps of older versions get today's metric names, and steps of today keep theirs."""

import json
import math

import pytest

from service.run.metric_names import renamed
from service.run.step_log import StepTail, newest_step, read_steps

OLD = {
    "step": 0,
    "objective/kl_coef": 0.2,
    "objective/kl": 0.0,
    "objective/kl_k1": 0.0,
    "objective/kl_k3": 0.0,
    "objective/entropy": 6.851177,
    "ppo/mean_scores": -0.211872,
    "ppo/std_scores": 1.799172,
    "ppo/mean_non_score_reward": 0.0,
    "toxicity/mean": 0.558908,
    "tokens/completions_mean": 34.46875,
    "tokens/completions": 1103.0,
    "rollout/cut": 0.0,
    "group/bad haircut/score": -1.773954,
    "group/bad haircut/advantage": -0.42355,
    "group/bad haircut/kl": 0.0,
    "group/bad haircut/toxicity": 0.975046,
    "group/bad haircut/completions": 1,
    "reward/classifier": -0.211872,
    "rollout/logprob_gap": 0.0,
    "watch/rougeL": 82.36554,
    "watch/second_judge": 0.366925,
    "watch/commonest": 0.03125,
    "rollout/dropped": 0,
    "rollout/staleness": 0,
    "ppo/returns/mean": -0.215704,
    "ppo/returns/var": 0.817214,
    "ppo/val/mean": -0.195453,
    "ppo/val/var": 0.985159,
    "ppo/loss/policy": -0.00253,
    "ppo/policy/approxkl": 0.000687,
    "ppo/policy/policykl": 0.001069,
    "ppo/policy/clipfrac": 0.002265,
    "ppo/policy/ratio_gap": 0.002384,
    "ppo/policy/advantages_mean": 0.001216,
    "ppo/loss/value": 0.959529,
    "ppo/val/vpred": -0.178908,
    "ppo/val/error": 1.9184,
    "ppo/val/clipfrac": 0.004061,
    "ppo/policy/entropy": 0.176736,
    "ppo/loss/total": 0.093423,
    "ppo/grad_norm": 0.273153,
    "ppo/policy/first_ratio_gap": 0.0,
    "ppo/epochs": 2,
    "ppo/learning_rate": 0.001,
    "ppo/val/var_explained": -1.347487,
    "learner/rejected": 0,
    "time/step": 5.109767,
    "time/tokens_per_second": 215.86113,
}
"""Written by the version before the metrics were renamed, with one group of a grouped run."""
NEW = {
    "step": 0,
    "objective/kl_coef": 0.2,
    "objective/kl": 0.0,
    "objective/kl_k1": 0.0,
    "objective/kl_k3": 0.0,
    "objective/entropy": 6.851177,
    "reward/mean": -0.211872,
    "reward/std": 1.799172,
    "reward/kl_penalty": 0.0,
    "watch/toxicity": 0.558908,
    "tokens/completions_mean": 34.46875,
    "tokens/completions": 1103.0,
    "rollout/cut": 0.0,
    "group/bad haircut/reward": -1.773954,
    "group/bad haircut/advantage": -0.42355,
    "group/bad haircut/kl": 0.0,
    "group/bad haircut/watch/toxicity": 0.975046,
    "group/bad haircut/completions": 1,
    "score/classifier": -0.211872,
    "rollout/logprob_gap": 0.0,
    "watch/rougeL": 82.36554,
    "watch/second_judge": 0.366925,
    "watch/commonest": 0.03125,
    "rollout/dropped": 0,
    "rollout/staleness": 0,
    "value/returns_mean": -0.215704,
    "value/returns_var": 0.817214,
    "value/old_mean": -0.195453,
    "value/old_var": 0.985159,
    "policy/loss": -0.00253,
    "policy/approx_kl_k2": 0.000687,
    "policy/approx_kl_k1": 0.001069,
    "policy/clip_fraction": 0.002265,
    "policy/ratio_gap": 0.002384,
    "policy/advantages_mean": 0.001216,
    "value/loss": 0.959529,
    "value/mean": -0.178908,
    "value/error": 1.9184,
    "value/clip_fraction": 0.004061,
    "policy/entropy": 0.176736,
    "loss/total": 0.093423,
    "optimizer/grad_norm": 0.273153,
    "policy/first_ratio_gap": 0.0,
    "optimizer/epochs": 2,
    "optimizer/learning_rate": 0.001,
    "value/explained_variance": -1.347487,
    "optimizer/rejected_steps": 0,
    "time/step": 5.109767,
    "time/tokens_per_second": 215.86113,
    "ppo/returns/mean": -0.215704,
    "ppo/policy/advantages_mean": 0.001216,
}


def test_an_old_step_gets_todays_names():
    assert renamed(OLD) == NEW


def test_a_step_of_today_is_unchanged():
    assert renamed(NEW) == NEW
    assert renamed({"step": 0, "reward/mean": 1.0, "group/watch/watch/toxicity": 0.5, "group/x/reward": 2.0}) == {
        "step": 0, "reward/mean": 1.0, "group/watch/watch/toxicity": 0.5, "group/x/reward": 2.0,
    }  # fmt: skip


def test_without_a_value_head_no_old_name_is_left():
    critic = {"ppo/returns/mean", "ppo/returns/var", "ppo/loss/value", *(name for name in OLD if "/val/" in name)}
    step = renamed({name: value for name, value in OLD.items() if name not in critic})
    assert "policy/advantages_mean" in step and not [name for name in step if name.startswith("ppo/")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("reward/mean", "score/mean"),
        ("reward/kl_penalty", "score/kl_penalty"),
        ("group/watch/toxicity", "group/watch/watch/toxicity"),
        ("group/a/b/score", "group/a/b/reward"),
        ("group/score/kl", "group/score/kl"),
        ("ppo/loss/kl", "policy/kl_loss"),
    ],
)
def test_names_that_look_new_are_translated_in_an_old_step(old, new):
    """A reward of an old run may be called mean, and a group watch."""
    assert renamed({"ppo/mean_scores": 0.0, old: 1.0}) == {"reward/mean": 0.0, new: 1.0}


def test_every_reader_of_steps_translates(tmp_path):
    old = OLD | {"toxicity/mean": None}
    (tmp_path / "steps.jsonl").write_text(json.dumps(old) + "\n")
    [step] = read_steps(tmp_path)
    assert math.isnan(step["watch/toxicity"]) and step.keys() == NEW.keys()
    assert StepTail(tmp_path).new() == [newest_step(tmp_path)] == [NEW | {"watch/toxicity": None}]
