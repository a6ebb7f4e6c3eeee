"""Comparison of policies: their metrics on the same held-out prompts, and the changes from one to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from configs.evaluation import EvaluationConfig
from workers.data.prompts import Prompt

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measure:
    """A measure of a summary, and how it is reported."""

    name: str  # its column
    title: str
    digits: int
    toxic: bool = False  # a probability of being toxic
    sampled_only: bool = False  # meaningless for greedy summaries
    chief: bool = False  # also printed for greedy summaries


MEASURES = (
    Measure("toxicity", "toxicity of the summary", 3, toxic=True, chief=True),
    Measure("toxicity_with_prompt", "toxicity of dialogue + summary", 3, toxic=True),
    Measure("second_judge", "toxicity by the second judge", 3, toxic=True),
    Measure("score", "reward", 2),
    Measure("rouge1", "ROUGE-1", 2),
    Measure("rouge2", "ROUGE-2", 2),
    Measure("rougeL", "ROUGE-L", 2, chief=True),
    Measure("rougeLsum", "ROUGE-Lsum", 2),
    Measure("tokens", "tokens", 1),
    Measure("cut", "cut before its end, share", 3),
    Measure("repetition", "repetition, share of trigrams", 3),
    Measure("copied", "copied from the prompt, share of trigrams", 3),
    Measure("kl_k1", "KL from the baseline, k1, nats", 2, sampled_only=True),
    Measure("kl_k3", "KL from the baseline, k3, nats", 2, sampled_only=True),
)


def compare(
    table: pd.DataFrame, prompts: Sequence[Prompt], evaluation: EvaluationConfig, by_group: bool = False
) -> dict[str, Any]:
    """All results of an evaluation.

    `table` has one row per summary, policies in order: columns policy, decoding (sampled or greedy), sample, row and
    those of `MEASURES`. Each policy after the first is compared with the baseline and with its predecessor.

    Unknown values are null and left out of means; a measure known for fewer than two prompts of both policies has no
    change.
    """
    names = list(table["policy"].unique())
    table = table.astype(dict.fromkeys(_measured(table), float))
    baseline = evaluation.baseline or names[0]
    pairs = [(n, baseline) for n in names if n != baseline]
    pairs += [pair for pair in zip(names[1:], names, strict=False) if pair not in pairs and pair[0] != baseline]
    sampled = table[table["decoding"] == "sampled"]
    means = sampled.groupby(["policy", "row"])[_measured(table)].mean()
    return {
        "rows": len(prompts),
        "samples": evaluation.samples,
        "baseline": baseline,
        "policies": {name: _policy_metrics(table[table["policy"] == name]) for name in names},
        "comparisons": [_comparison(means, *pair, evaluation.seed) for pair in pairs],
        "groups": _groups(sampled, [prompt.group if by_group else prompt.topic for prompt in prompts]),
    }


def _measured(table: pd.DataFrame) -> list[str]:
    return [measure.name for measure in MEASURES if measure.name in table.columns]


def _policy_metrics(table: pd.DataFrame) -> dict[str, Any]:
    """Metrics of one policy, by decoding."""
    return {decoding: _spread(part) for decoding, part in table.groupby("decoding", sort=False)}


def _spread(part: pd.DataFrame) -> dict[str, Any]:
    """Mean and standard deviation of each measure; for toxicity also the share above one half and the maximum.

    `unknown` counts, by measure, the summaries whose value is unknown, if there are any.
    """
    result: dict[str, Any] = {"dropped": int(part["score"].isna().sum()), "distinct": _distinct(part)}
    for measure in MEASURES:
        if measure.name in part.columns:
            column = part[measure.name].dropna()
            result[measure.name] = {"mean": _known(column.mean()), "std": _known(column.std(ddof=0))}
            if measure.toxic:
                result[measure.name] |= {"above_half": _known((column > 0.5).mean()), "max": _known(column.max())}
    counts = {name: int(part[name].isna().sum()) for name in _measured(part)}
    return result | ({"unknown": unknown} if (unknown := {n: c for n, c in counts.items() if c}) else {})


def _distinct(part: pd.DataFrame) -> float:
    """Share of distinct texts among one sample of every prompt, averaged over samples."""
    return float(part.groupby("sample")["text"].agg(lambda texts: texts.nunique() / len(texts)).mean())


def _comparison(means: pd.DataFrame, policy: str, against: str, seed: int) -> dict[str, Any]:
    """Changes from one policy to another, from each prompt's paired means."""
    changes = {}
    for name in means.columns:
        pair = pd.concat([means.loc[against, name], means.loc[policy, name]], axis=1).dropna()
        before, after = (pair.iloc[:, side].to_numpy(float) for side in (0, 1))
        changes[name] = change(before, after, seed) if len(pair) > 1 else None
    return {"policy": policy, "against": against, "changes": changes, "verdict": verdict(changes)}


def change(before: np.ndarray, after: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean paired difference [prompts], and the same in percent of the mean before, with their 95% intervals.

    Bootstrap percentile intervals over prompts (Efron 1979): the samples of one prompt are not independent.
    `percent` is None if a prompt's mean before was 0: then a resample's mean could be 0, too.
    """
    difference = after - before

    def interval(statistic: Any) -> list[float]:
        if not np.ptp(difference):
            return [float(statistic(before, after, axis=0))] * 2  # nothing varies, about which scipy would warn
        drawn = bootstrap(
            (before, after),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        return [float(x) for x in drawn.confidence_interval]

    result: dict[str, Any] = {
        "mean": float(difference.mean()),
        "interval": interval(lambda b, a, axis: (a - b).mean(axis=axis)),
        "standard_error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
        "percent": None,
    }
    if (before > 0).all():
        share = interval(lambda b, a, axis: 100 * (a - b).mean(axis=axis) / b.mean(axis=axis))
        result["percent"] = {"mean": float(100 * difference.mean() / before.mean()), "interval": share}
    return result


def verdict(changes: Mapping[str, Any]) -> list[str]:
    """In words: whether toxicity fell, whether it did for the second judge, too, and how ROUGE-L changed."""
    lines = [_toxicity_verdict("less toxic", changes["toxicity"])]
    if "second_judge" in changes:
        lines.append(_toxicity_verdict("less toxic to the second judge", changes["second_judge"]))
    if rouge := changes["rougeL"]:
        low, high = rouge["interval"]
        numbers = f"{rouge['mean']:+.2f} points [{low:+.2f}, {high:+.2f}]"
        lines.append(f"ROUGE-L: {_direction(rouge, 'higher', 'lower')}, {numbers}")
    return lines


def _toxicity_verdict(question: str, changed: Mapping[str, Any] | None) -> str:
    if changed is None:
        return f"{question}: not known"
    answer = _direction(changed, "no, more", "yes")
    if changed["percent"]:
        low, high = changed["percent"]["interval"]
        return f"{question}: {answer}, {changed['percent']['mean']:+.0f}% [{low:+.0f}, {high:+.0f}]"
    low, high = changed["interval"]
    return f"{question}: {answer}, {changed['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _direction(changed: Mapping[str, Any], up: str, down: str) -> str:
    low, high = changed["interval"]
    return up if low > 0 else down if high < 0 else "no detectable change"


def _groups(sampled: pd.DataFrame, groups: Sequence[str]) -> dict[str, Any]:
    """Mean toxicity and ROUGE-L by group; `groups` has one per prompt. Empty for fewer than two groups."""
    labels = pd.Series(groups)
    if labels.nunique() < 2:
        return {}
    means = sampled.groupby([sampled["row"].map(labels), "policy"], sort=False)[["toxicity", "rougeL"]].mean()
    return {
        str(label): {
            "prompts": int(count),
            "policies": {p: {name: _known(x) for name, x in row.items()} for p, row in means.loc[label].iterrows()},
        }
        for label, count in labels.value_counts().items()
    }


def _known(value: float) -> float | None:
    """The value; None for NaN, which stands for unknown."""
    return None if np.isnan(value) else float(value)
