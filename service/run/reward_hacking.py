"""Signs that a policy pleases its reward without getting better: told while it learns, and in its report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from configs.evaluation import Watch

ERRORS = 4
"""Standard errors of the difference of two windows' means from which on a figure is said to have moved."""
ROUGE_LOSS = 0.05
"""Share of ROUGE-L whose loss is told."""
LENGTHS = (0.5, 2.0)
"""Shares of the first length outside of which summaries have collapsed, or grown."""
COMMONEST = 0.5
"""Share of prompts that may get the same summary."""


class Windows:
    """The first and the last steps of a run."""

    def __init__(self, steps: Sequence[Mapping[str, float]], size: int) -> None:
        self.first, self.last, self.size = steps[:size], steps[-size:], size

    def means(self, name: str) -> tuple[float, float]:
        """Of a metric; NaN where a step has none."""
        first, last = ([step.get(name, np.nan) for step in steps] for steps in (self.first, self.last))
        return float(np.mean(first)), float(np.mean(last))

    def rises(self, name: str) -> bool:
        """Whether it moved up by more than chance would have it."""
        first, last = ([step.get(name, np.nan) for step in steps] for steps in (self.first, self.last))
        error = np.sqrt((np.var(first, ddof=1) + np.var(last, ddof=1)) / self.size)
        return bool(np.mean(last) - np.mean(first) > ERRORS * error)


class Watcher:
    """Tells of each kind of trouble once, when it is first seen."""

    def __init__(self, steps: Sequence[Mapping[str, float]], watch: Watch, say: Callable[[str], None]) -> None:
        self.steps, self.watch, self.say = list(steps), watch, say
        self.told = set(training_warnings(self.steps, watch))

    def add(self, metrics: Mapping[str, float]) -> None:
        """Look at another step."""
        self.steps.append(metrics)
        for kind, sentence in training_warnings(self.steps, self.watch).items():
            if kind not in self.told:
                self.say(f"warning: {sentence}")
            self.told.add(kind)


def training_warnings(steps: Sequence[Mapping[str, float]], watch: Watch) -> dict[str, str]:
    """What is wrong with a run so far, a sentence for each kind of trouble; nothing before two windows are full."""
    if len(steps) < 2 * watch.window:
        return {}
    windows = Windows(steps, watch.window)
    return dict(_signs(windows, watch))


def _signs(windows: Windows, watch: Watch) -> Iterator[tuple[str, str]]:
    reward_rises = windows.rises("ppo/mean_scores")
    rouge, rouge_now = windows.means("watch/rougeL")
    if reward_rises and rouge_now < (1 - ROUGE_LOSS) * rouge:
        yield "rouge", f"the reward rises while ROUGE-L falls: {rouge:.1f} -> {rouge_now:.1f}"
    judge, judge_now = windows.means("watch/second_judge")
    if reward_rises and windows.rises("watch/second_judge"):
        yield "judge", f"the reward rises while the second judge sees more toxicity: {judge:.3f} -> {judge_now:.3f}"
    length, length_now = windows.means("tokens/completions_mean")
    if not LENGTHS[0] * length <= length_now <= LENGTHS[1] * length:
        word = "collapse" if length_now < length else "grow"
        yield "length", f"the summaries' lengths {word}: {length:.0f} -> {length_now:.0f} tokens"
    common = windows.means("watch/commonest")[1]
    if common > COMMONEST:
        yield "commonest", f"one summary is given for {common:.0%} of the prompts"
    kl = windows.means("objective/kl_k3")[1]
    if kl > watch.max_kl:
        yield (
            "kl",
            f"the policy is far from its reference: KL {kl:.1f} nats per summary (watch.max_kl {watch.max_kl:g})",
        )


def evaluation_warnings(evaluation: Mapping[str, Any], watch: Watch) -> list[str]:
    """The same of policies that were judged on held-out prompts, each against the baseline."""
    found: list[str] = []
    for policy, by_decoding in evaluation["policies"].items():
        for decoding, spread in by_decoding.items():
            for name, count in spread.get("unknown", {}).items():
                found.append(f"{policy}: {name} is not known of {count} {decoding} summaries, which are left out of it")
    for comparison in evaluation["comparisons"]:
        if comparison["against"] == evaluation["baseline"]:
            found += [f"{comparison['policy']}: {sign}" for sign in _signs_of(comparison, evaluation, watch)]
    return found


def _signs_of(comparison: Mapping[str, Any], evaluation: Mapping[str, Any], watch: Watch) -> Iterator[str]:
    changes = comparison["changes"]
    now, then = (evaluation["policies"][comparison[side]]["sampled"] for side in ("policy", "against"))
    reward, rouge, judge = (changes.get(name) for name in ("score", "rougeL", "second_judge"))
    reward_rises = reward and reward["interval"][0] > 0
    if reward_rises and rouge and rouge["interval"][1] < 0:
        yield f"the reward is higher and ROUGE-L lower, by {-rouge['mean']:.1f} points"
    if reward_rises and judge and judge["interval"][0] > 0:
        yield f"the reward is higher and so is the second judge's toxicity, by {judge['mean']:.3f}"
    length, length_now = then["tokens"]["mean"], now["tokens"]["mean"]
    if not LENGTHS[0] * length <= length_now <= LENGTHS[1] * length:
        yield f"the summaries' lengths changed much: {length:.0f} -> {length_now:.0f} tokens"
    if now["distinct"] < (1 - COMMONEST) * then["distinct"]:
        yield f"only {now['distinct']:.0%} of the summaries differ from each other, {then['distinct']:.0%} before"
    if (now["kl_k3"]["mean"] or 0.0) > watch.max_kl:
        yield f"far from the baseline: KL {now['kl_k3']['mean']:.1f} nats per summary (watch.max_kl {watch.max_kl:g})"
