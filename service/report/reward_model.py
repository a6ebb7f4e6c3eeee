"""How good a reward model is: in lines, and as a page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.preflight.measured_models import RESULT
from cluster.reward_result import HELD_OUT
from learner.atomic_files import replace_file
from service.report.html import number, render
from service.report.reward_plots import plots

PAGE = "reward_model.html"
WORST = 10
"""Pairs on the page that the model ranks most wrongly."""


def data_lines(data: dict[str, int]) -> list[str]:
    """The numbers of pairs, and all that is left out or cut."""
    lines = [
        f"{data['pairs']:,} pairs: {data['train']:,} to learn from, {data['held_out']:,} held out; "
        f"{data['ties']:,} of these are ties"
    ]
    reasons = {
        "same": "pairs are left out: both completions are the same text",
        "shared": "pairs are left out of training: their prompts are held out",
        "truncated": "pairs have a text longer than the model reads: it is truncated",
    }
    return lines + [f"warning: {data[key]:,} {reason}" for key, reason in reasons.items() if data[key]]


def quality_lines(result: dict[str, Any]) -> list[str]:
    """The measures in words."""
    return [
        _accuracy_line(result),
        *_ceiling_lines(result),
        *([f"accuracy on pairs of the current policy: {_share(result['current'])}"] if result["current"] else []),
        _calibration_line(result["calibration"]),
        *([_curve_line(result["curve"])] if result["curve"] else []),
        _length_line(result["length"]),
    ]


def _accuracy_line(result: dict[str, Any]) -> str:
    text, least = f"held-out accuracy {_share(result)}", result["min_accuracy"]
    if result["accuracy"] < least:
        text += f"; below reward_training.min_accuracy {least:.1%}: runs refuse this model unless its part sets force"
    return text


def _share(measured: dict[str, Any]) -> str:
    low, high = measured["interval"]
    counts = f"{measured['pairs']:,} pairs, {measured['prompts']:,} prompts"
    return f"{measured['accuracy']:.1%} [{low:.1%}, {high:.1%}], {counts}"


def _ceiling_lines(result: dict[str, Any]) -> list[str]:
    ceiling = result["ceiling"]
    if not ceiling:
        return ["its ceiling is unknown: no pair was answered by two named annotators"]
    low, high = ceiling["interval"]
    return [
        f"its ceiling, by {ceiling['questions']:,} pairs with several annotators, who agree in "
        f"{ceiling['agreement']:.1%}: {ceiling['accuracy']:.1%} [{low:.1%}, {high:.1%}]"
    ]


def _calibration_line(found: dict[str, Any]) -> str:
    line = f"calibration: Brier {found['brier']:.3f}, ECE {found['ece']:.3f}; "
    if found["temperature"] is None:
        return line + "no temperature: no pair is ranked wrongly"
    scaled = f"Brier {found['brier_scaled']:.3f}, ECE {found['ece_scaled']:.3f}"
    return line + f"at temperature {found['temperature']:.2f}: {scaled}"


def _curve_line(curve: Sequence[dict[str, Any]]) -> str:
    return "accuracy by pairs learnt from: " + ", ".join(f"{x['learnt_from']:,}: {x['accuracy']:.1%}" for x in curve)


def _length_line(length: dict[str, float | None]) -> str:
    people, model = (_percent(length[key]) for key in ("by_people", "by_model"))
    return (
        f"the longer completion is preferred by people in {people}, by the model in {model}; "
        f"correlation of score and length {number(length['correlation'], 2, '+')}"
    )


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def part_settings(result: dict[str, Any], models: Sequence[Path]) -> dict[str, Any]:
    """A part of the reward that uses the model, in units of its own standard deviation.

    Without a probe: which of two texts is better was measured on the pairs.
    """
    scores = result["scores"]
    scale = {"mean": round(scores["mean"], 3), "std": round(scores["std"], 3)} if scores["std"] >= 1e-3 else None
    shared = {"text": result["text"], "standardise": scale}
    if len(models) == 1:
        return {"type": "classifier", "model": str(models[0]), "probe": None, **shared}
    return {"type": "ensemble", "members": [{"model": str(model), "probe": None} for model in models], **shared}


def write_page(folder: Path) -> None:
    """Write reward_model.html of a folder with a finished reward model."""
    result = json.loads((folder / RESULT).read_bytes())
    rows = [json.loads(line) for line in (folder / HELD_OUT).read_text(encoding="utf-8").splitlines()]
    wrong = [row for row in rows if not row["tie"] and row["score_chosen"] <= row["score_rejected"]]
    text = render(
        "reward_model.html",
        title=f"Reward model {folder.resolve().name}",
        lines=[*data_lines(result["data"]), *quality_lines(result)],
        facts=_facts(result),
        plots=plots(result, rows),
        worst=sorted(wrong, key=lambda row: row["score_chosen"] - row["score_rejected"])[:WORST],
    )
    replace_file(folder / PAGE, text.encode())


def _facts(result: dict[str, Any]) -> list[tuple[str, Any]]:
    members = [f"{share:.1%}" for share in result["members"]]
    return [
        ("started from", result["model"]),
        ("new layers", ", ".join(result["new_layers"]) or "none"),
        ("text", result["text"]),
        ("mean and standard deviation of scores", " and ".join(f"{x:.3f}" for x in result["scores"].values())),
        *([("accuracy of each member", ", ".join(members))] if len(members) > 1 else []),
        ("steps", result["steps"]),
        ("seed", result["seed"]),
        ("torch", result["torch"]),
        *[("weights", sha256) for sha256 in result["models_sha256"]],
    ]
