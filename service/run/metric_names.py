"""Metric names in run folders written by older versions, translated to today's names."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "ppo/mean_scores": "reward/mean",
    "ppo/std_scores": "reward/std",
    "ppo/mean_non_score_reward": "reward/kl_penalty",
    "toxicity/mean": "watch/toxicity",
    "ppo/loss/policy": "policy/loss",
    "ppo/loss/value": "value/loss",
    "ppo/loss/kl": "policy/kl_loss",
    "ppo/loss/total": "loss/total",
    "ppo/policy/approxkl": "policy/approx_kl_k2",
    "ppo/policy/policykl": "policy/approx_kl_k1",
    "ppo/policy/clipfrac": "policy/clip_fraction",
    "ppo/policy/ratio_gap": "policy/ratio_gap",
    "ppo/policy/first_ratio_gap": "policy/first_ratio_gap",
    "ppo/policy/entropy": "policy/entropy",
    "ppo/returns/var": "value/returns_var",
    "ppo/val/vpred": "value/mean",
    "ppo/val/mean": "value/old_mean",
    "ppo/val/var": "value/old_var",
    "ppo/val/error": "value/error",
    "ppo/val/clipfrac": "value/clip_fraction",
    "ppo/val/var_explained": "value/explained_variance",
    "ppo/grad_norm": "optimizer/grad_norm",
    "ppo/epochs": "optimizer/epochs",
    "ppo/learning_rate": "optimizer/learning_rate",
    "learner/rejected": "optimizer/rejected_steps",
}
"""Old name -> new name. Any of the old ones marks a step as written by an older version."""
ALIASED = {
    "ppo/policy/advantages_mean": "policy/advantages_mean",
    "ppo/returns/mean": "value/returns_mean",
}
"""Old name -> new name of metrics that a step with a value head still has under both."""
REWARD, SCORE = "reward/", "score/"
"""Prefixes of each reward's own score, old and new."""
GROUP = "group/"
GROUP_SUFFIXES = {"/score": "/reward", "/toxicity": "/watch/toxicity"}
"""Old ending -> new ending of `group/<name>/...`."""


def renamed(step: Mapping[str, Any]) -> dict[str, Any]:
    """The step with today's metric names; one that has them already is returned unchanged."""
    if not RENAMED.keys() & step.keys():
        return dict(step)
    has_value_head = "ppo/returns/mean" in step
    aliases = {name: step[name] for name in ALIASED if has_value_head and name in step}
    return {_new_name(name): value for name, value in step.items()} | aliases


def _new_name(old: str) -> str:
    """Only valid for a step of an older version: `reward/mean` there is the score of a reward called mean."""
    if name := RENAMED.get(old) or ALIASED.get(old):
        return name
    if old.startswith(REWARD):
        return SCORE + old.removeprefix(REWARD)
    if old.startswith(GROUP):
        for suffix, new in GROUP_SUFFIXES.items():
            if old.endswith(suffix):
                return old.removesuffix(suffix) + new
    return old
