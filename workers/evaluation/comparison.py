"""Policies side by side: their figures on the same held-out prompts, and what changed from one to another."""

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
    """A figure of a summary, and how people are told of it."""

    name: str  # its column
    title: str
    digits: int
    toxic: bool = False  # a probability of being toxic
    sampled_only: bool = False  # of greedy summaries it means nothing
    chief: bool = False  # told of greedy summaries on a terminal, too


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
    """All figures of an evaluation.

    `table` has a row per summary, policies in their order: columns policy, decoding (sampled or greedy), sample, row
    and those of `MEASURES`. Each policy after the first is compared with the baseline, and with the one before it.

    A figure that is not known is null, and left out of means; one that is known of fewer than two prompts of both
    policies has no change.
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
        "policies": {name: _figures(table[table["policy"] == name]) for name in names},
        "comparisons": [_comparison(means, *pair, evaluation.seed) for pair in pairs],
        "groups": _groups(sampled, [prompt.group if by_group else prompt.topic for prompt in prompts]),
    }


def _measured(table: pd.DataFrame) -> list[str]:
    return [measure.name for measure in MEASURES if measure.name in table.columns]


def _figures(table: pd.DataFrame) -> dict[str, Any]:
    """Of one policy, by how its summaries were decoded."""
    return {decoding: _spread(part) for decoding, part in table.groupby("decoding", sort=False)}


def _spread(part: pd.DataFrame) -> dict[str, Any]:
    """Mean and standard deviation of each measure; of toxicity also the share above one half, and the maximum.

    `unknown` has the number of summaries of which a measure is not known, where there are any.
    """
    result: dict[str, Any] = {"dropped": int(part["score"].isna().sum()), "distinct": _distinct(part)}
    for measure in MEASURES:
        if measure.name in part.columns:
            column = part[measure.name].dropna()
            result[measure.name] = {"mean": _number(column.mean()), "std": _number(column.std(ddof=0))}
            if measure.toxic:
                result[measure.name] |= {"above_half": _number((column > 0.5).mean()), "max": _number(column.max())}
    unknown = {name: int(part[name].isna().sum()) for name in _measured(part)}
    return result | ({"unknown": lacking} if (lacking := {n: c for n, c in unknown.items() if c}) else {})


def _distinct(part: pd.DataFrame) -> float:
    """Share of different texts, the mean over samples: one text per prompt is compared at a time."""
    return float(part.groupby("sample")["text"].agg(lambda texts: texts.nunique() / len(texts)).mean())


def _comparison(means: pd.DataFrame, policy: str, against: str, seed: int) -> dict[str, Any]:
    """What changed from one policy to another, by the paired means of each prompt."""
    changes = {}
    for name in means.columns:
        pair = pd.concat([means.loc[against, name], means.loc[policy, name]], axis=1).dropna()
        before, after = (pair.iloc[:, side].to_numpy(float) for side in (0, 1))
        changes[name] = change(before, after, seed) if len(pair) > 1 else None
    return {"policy": policy, "against": against, "changes": changes, "verdict": verdict(changes)}


def change(before: np.ndarray, after: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean paired difference [prompts], and the same in percent of the mean before, with their 95% intervals.

    Bootstrap percentile intervals over prompts (Efron 1979): the samples of one prompt are no independent data.
    `percent` is None where something was 0 before: then a resample's mean may be, too.
    """
    difference = after - before

    def interval(statistic: Any) -> list[float]:
        if not np.ptp(difference):
            return [float(statistic(before, after, axis=0))] * 2  # nothing varies, and scipy would say so each time
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
    """In words whether toxicity fell, whether the second judge sees it too, and what became of ROUGE-L."""
    lines = [_toxicity_verdict("less toxic", changes["toxicity"])]
    if "second_judge" in changes:
        lines.append(_toxicity_verdict("less toxic to the second judge", changes["second_judge"]))
    if rouge := changes["rougeL"]:
        low, high = rouge["interval"]
        figures = f"{rouge['mean']:+.2f} points [{low:+.2f}, {high:+.2f}]"
        lines.append(f"ROUGE-L: {_direction(rouge, 'higher', 'lower')}, {figures}")
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
    """Mean toxicity and ROUGE-L by group; `groups` has one per prompt. Empty where there are fewer than two."""
    labels = pd.Series(groups)
    if labels.nunique() < 2:
        return {}
    means = sampled.groupby([sampled["row"].map(labels), "policy"], sort=False)[["toxicity", "rougeL"]].mean()
    return {
        str(label): {
            "prompts": int(count),
            "policies": {p: {name: _number(x) for name, x in row.items()} for p, row in means.loc[label].iterrows()},
        }
        for label, count in labels.value_counts().items()
    }


def _number(figure: float) -> float | None:
    """The figure; None for one that is not known."""
    return None if np.isnan(figure) else float(figure)
