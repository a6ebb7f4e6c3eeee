"""Comparison of policies: their metrics on the same held-out prompts, and the changes from one to another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from configs.evaluation import EvaluationConfig
from workers.data.prompts import Prompt
from workers.evaluation.measures import Measure, measures, record

RESAMPLES = 2000
CONFIDENCE = 0.95


def compare(
    table: pd.DataFrame, prompts: Sequence[Prompt], evaluation: EvaluationConfig, by_group: bool = False
) -> dict[str, Any]:
    """All results of an evaluation.

    `table` has one row per summary, policies in order: columns policy, decoding (sampled or greedy), sample, row and
    the measures'. Each policy after the first is compared with the baseline and with its predecessor.

    Unknown values are null and left out of means; a measure known for fewer than two prompts of both policies has no
    change.
    """
    names = list(table["policy"].unique())
    found = measures(evaluation, table.columns)
    columns = [measure.name for measure in found]
    table = table.astype(dict.fromkeys(columns, float))
    baseline = evaluation.baseline or names[0]
    pairs = [(n, baseline) for n in names if n != baseline]
    pairs += [pair for pair in zip(names[1:], names, strict=False) if pair not in pairs and pair[0] != baseline]
    sampled = table[table["decoding"] == "sampled"]
    means = sampled.groupby(["policy", "row"])[columns].mean()
    return {
        "rows": len(prompts),
        "samples": evaluation.samples,
        "baseline": baseline,
        "measures": record(found),
        "policies": {name: _policy_metrics(table[table["policy"] == name], found) for name in names},
        "comparisons": [_comparison(means, *pair, evaluation.seed, found) for pair in pairs],
        "groups": _groups(sampled, [prompt.group if by_group else prompt.topic for prompt in prompts], found),
    }


def _policy_metrics(table: pd.DataFrame, found: Sequence[Measure]) -> dict[str, Any]:
    """Metrics of one policy, by decoding."""
    return {decoding: _spread(part, found) for decoding, part in table.groupby("decoding", sort=False)}


def _spread(part: pd.DataFrame, found: Sequence[Measure]) -> dict[str, Any]:
    """Mean and standard deviation of each measure; for toxicity also the share above one half and the maximum.

    `unknown` counts, by measure, the summaries whose value is unknown, if there are any.
    """
    result: dict[str, Any] = {"dropped": int(part["score"].isna().sum()), "distinct": _distinct(part)}
    for measure in found:
        column = part[measure.name].dropna()
        result[measure.name] = {"mean": _known(column.mean()), "std": _known(column.std(ddof=0))}
        if measure.toxic:
            result[measure.name] |= {"above_half": _known((column > 0.5).mean()), "max": _known(column.max())}
    counts = {measure.name: int(part[measure.name].isna().sum()) for measure in found}
    return result | ({"unknown": unknown} if (unknown := {n: c for n, c in counts.items() if c}) else {})


def _distinct(part: pd.DataFrame) -> float:
    """Share of distinct texts among one sample of every prompt, averaged over samples."""
    return float(part.groupby("sample")["text"].agg(lambda texts: texts.nunique() / len(texts)).mean())


def _comparison(means: pd.DataFrame, policy: str, against: str, seed: int, found: Sequence[Measure]) -> dict[str, Any]:
    """Changes from one policy to another, from each prompt's paired means."""
    changes = {}
    for name in means.columns:
        pair = pd.concat([means.loc[against, name], means.loc[policy, name]], axis=1).dropna()
        before, after = (pair.iloc[:, side].to_numpy(float) for side in (0, 1))
        changes[name] = change(before, after, seed) if len(pair) > 1 else None
    return {"policy": policy, "against": against, "changes": changes, "verdict": verdict(changes, found)}


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


def verdict(changes: Mapping[str, Any], found: Sequence[Measure]) -> list[str]:
    """In words: whether toxicity fell, also for the second judge, and how each of the other chief measures changed."""
    questions = {"toxicity": "less toxic", "second_judge": "less toxic to the second judge"}
    lines = [_toxicity_verdict(asked, changes[name]) for name, asked in questions.items() if name in changes]
    for measure in found:
        if measure.chief and not measure.toxic and (changed := changes[measure.name]):
            low, high = (f"{x:+.{measure.digits}f}" for x in changed["interval"])
            numbers = f"{changed['mean']:+.{measure.digits}f}{' points' * measure.percent} [{low}, {high}]"
            lines.append(f"{measure.title}: {_direction(changed, 'higher', 'lower')}, {numbers}")
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


def _groups(sampled: pd.DataFrame, groups: Sequence[str], found: Sequence[Measure]) -> dict[str, Any]:
    """Means of the chief measures by group; `groups` has one per prompt. Empty for fewer than two groups."""
    labels = pd.Series(groups)
    if labels.nunique() < 2:
        return {}
    chief = [measure.name for measure in found if measure.chief]
    means = sampled.groupby([sampled["row"].map(labels), "policy"], sort=False)[chief].mean()
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
