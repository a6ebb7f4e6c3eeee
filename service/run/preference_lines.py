"""What learning from preferences prints: its data, each step, and what came of it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.driver import StepReport
from cluster.preferences.plan import PreferencePlan
from configs.installation import COMMAND
from service.run.step_log import read_steps

HELD_OUT_LOSS = "held_out/loss/total"
BEST = "best"
"""Folder of the adapter whose held-out loss was lowest."""


def plan_lines(plan: PreferencePlan, template: str) -> list[str]:
    """What is learnt from, how long it takes, and a warning if no prompt was made by the template (data.template)."""
    lines = [
        f"examples: {plan.found}",
        f"{len(plan.train):,} to learn from, {len(plan.held_out):,} held out by their prompts; {plan.steps:,} steps",
    ]
    before, _, after = template.partition("{text}")
    prompts = [example.prompt for example in (*plan.train, *plan.held_out)]
    if not any(prompt.startswith(before) and prompt.endswith(after) for prompt in prompts):
        lines.append("warning: no prompt begins and ends as data.template does, as the policy's prompts do elsewhere")
    return lines


def step_summary(report: StepReport) -> str:
    """The step's main metrics, in one line."""
    m = report.metrics
    line = f"loss {m['loss/total']:.4f}  accuracy {m['rewards/accuracies']:.2f}  margin {m['rewards/margins']:+.2f}"
    if HELD_OUT_LOSS in m:
        line += f"  held-out loss {m[HELD_OUT_LOSS]:.4f}  held-out accuracy {m['held_out/rewards/accuracies']:.2f}"
    return f"{line}  {m['time/tokens_per_second']:.0f} tokens/s"


def start_line(metrics: Mapping[str, float]) -> str:
    """Shows the law of the first step."""
    return (
        f"before the first update the policy was its reference: log-probabilities differ by "
        f"{metrics['objective/logprob_gap']:.2g} per token, the loss was {metrics['loss/total']:.6f}"
    )


def evaluated(folder: Path) -> list[dict[str, Any]]:
    """The steps after which the held-out examples were measured, with a finite loss."""
    return [step for step in read_steps(folder) if math.isfinite(step.get(HELD_OUT_LOSS, math.nan))]


def result_lines(folder: Path) -> list[str]:
    """What was learnt, and what to do with it."""
    use = f"the adapter is in {folder / 'adapter'}; compare it with: {COMMAND} evaluate base dpo={folder}"
    if not (steps := evaluated(folder)):
        return [use]
    best, last = min(steps, key=lambda step: step[HELD_OUT_LOSS]), steps[-1]
    figures = f"held-out accuracy {last['held_out/rewards/accuracies']:.3f}, loss {last[HELD_OUT_LOSS]:.4f}"
    lowest = f"the lowest was {best[HELD_OUT_LOSS]:.4f} after step {best['step'] + 1}: {folder / BEST}"
    return [f"{figures}; {lowest}", use]
