"""Reward workers: score completions, and measure what is watched beside the reward."""

from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch

from configs.errors import UsageError
from configs.rewards import RewardConfig
from learner.pretrained import one_line
from learner.types import Rollouts, Scores, Tensors
from workers.reward.anchors import anchored, with_references
from workers.reward.items import Item, items_of
from workers.reward.loaded import LoadedRewards
from workers.reward.metrics import Metrics
from workers.reward.rewards import Rewards, Scored
from workers.reward.second_judge import Judge, make_judge
from workers.reward.texts import Reading
from workers.reward.versions import Refusal, RewardVersion, Trial
from workers.settings import RewardSettings


class RewardWorker:
    """Hosts all parts of the reward."""

    def __init__(self, settings: RewardSettings) -> None:
        self.config, self.evaluation = settings.reward, settings.evaluation
        self.device = torch.device(settings.device)
        self.loaded = LoadedRewards(settings.reward, self.device)
        self.rewards = self.loaded.first

    # Watched measures are loaded with the first completions, so that the first unit is sampled seconds sooner.

    @cached_property
    def metrics(self) -> Metrics:
        """The metrics of evaluation."""
        return Metrics(self.evaluation.metrics, self.device)

    @cached_property
    def second_judge(self) -> Judge | None:
        """The second judge, if any."""
        return self.evaluation.second_judge and make_judge(self.evaluation.second_judge, self.device)

    def score(
        self, rollouts: Rollouts, version: RewardVersion | None = None, before: RewardVersion | None = None
    ) -> Scores:
        """Scores of one unit's completions by a version of the reward, or by the one that the worker started with.

        With `before`, also their totals by that version. Raises `RewardError` if a part fails whose on_failure is
        error.
        """
        version, items = version or RewardVersion(0, 0, self.config), items_of(rollouts)
        scores, _ = self._score(rollouts, items, self.loaded.of(version.reward))
        old = {"before": self.loaded.of(before.reward)(items).total} if before else {}
        self.loaded.keep(*(one.reward for one in (version, before) if one))
        return replace(scores, version=version.number, **old)

    def _score(self, rollouts: Rollouts, items: list[Item], rewards: Rewards) -> tuple[Scores, Reading | None]:
        """The scores, and how the texts read that tell toxicity."""
        unit = rollouts.unit

        def where(i: int) -> str:
            text = rollouts.texts[i]
            return f"unit {unit.index} of step {unit.step}, row {unit.rows[i]}, completion {text!r}"

        scored = rewards(items, where)
        reading = self._toxicity(items, rewards, scored)
        watched = self._watch(items, reading)
        return Scores(unit.key, scored.total, scored.parts, scored.total.isnan(), watched), reading

    def _toxicity(self, items: list[Item], rewards: Rewards, scored: Scored) -> Reading | None:
        """How the part reads the items that measured toxicity when the run started, whatever is rewarded now."""
        if not (name := self.config.toxicity):
            return None
        part = self.rewards.parts[name]
        return scored.readings[name] if rewards.parts[name] is part else part.read_items(items)

    def _watch(self, items: list[Item], reading: Reading | None) -> Tensors:
        """Toxicity, the verdict's metrics and the second judge, which should not get worse as the reward improves."""
        watched = {} if reading is None else {"toxicity": reading.badness}
        metrics = self.metrics(items, self.evaluation.verdict_metrics)
        watched |= {name: column.float() for name, column in metrics.items()}
        if self.second_judge:
            watched["second_judge"] = torch.tensor(self.second_judge([item.completion for item in items]))
        return watched

    def judge(self, rollouts: Rollouts, reward: RewardConfig | None = None) -> list[dict[str, Any]]:
        """All metrics of each of one unit's completions, for an evaluation; None where unknown.

        `reward` as in `score`.
        """
        from workers.evaluation.text_metrics import text_metrics

        items = items_of(rollouts)
        scores, reading = self._score(rollouts, items, self.loaded.of(reward or self.config))
        columns = {
            "score": _known(scores.scores),
            **{f"score/{name}": _known(part) for name, part in scores.parts.items()},
            **self._toxicities(items, reading),
            **({"second_judge": scores.watched["second_judge"].tolist()} if self.second_judge else {}),
        }
        columns |= {name: _known(column) for name, column in self.metrics(items).items()}
        rows = text_metrics(rollouts)
        return [{**row, **{name: column[i] for name, column in columns.items()}} for i, row in enumerate(rows)]

    def _toxicities(self, items: list[Item], reading: Reading | None) -> dict[str, list[float]]:
        """Toxicity of the summary alone and, as in the notebook, with its prompt; the reward has read one of them."""
        from workers.evaluation.evaluate_modules import Toxicity

        if not (name := self.config.toxicity) or reading is None:
            return {}
        measured, judge = reading.badness.tolist(), self.rewards.parts[name].judge
        if self.config.parts[name].text == "prompt+completion":
            texts = [item.completion for item in items]
            return {
                "toxicity": Toxicity(judge).compute(predictions=texts)["toxicity"],
                "toxicity_with_prompt": measured,
            }
        texts = [item.prompt + item.completion for item in items]
        both = Toxicity(partial(judge, cut="left")).compute(predictions=texts)["toxicity"]
        return {"toxicity": measured, "toxicity_with_prompt": both}

    def probe(self) -> dict[str, list[tuple[float, float]]]:
        """By part, each classifier's scores of the better and the worse text of its probe.

        Raises `UsageError` if a part of the reward or the second judge ranks the two the wrong way round.
        """
        if getattr(self.evaluation.second_judge, "probe", None):
            _ = self.second_judge  # loading it probes it
        return self.rewards.probe()

    def try_out(self, now: RewardConfig, proposed: RewardConfig, part: str, *anchors: Rollouts) -> Trial | Refusal:
        """Load and probe the proposed reward; with `anchors`, bring its `part` to the scale that it has now.

        A reward that cannot be used is an answer, not an error: the run goes on without it.
        """
        try:
            rewards = self.loaded.of(proposed)
            rewards.probe()
            units = [with_references(items_of(rollouts)) for rollouts in anchors]
            return anchored(self.loaded.of(now), rewards, part, units) if units else Trial(proposed)
        except UsageError as error:
            return Refusal(tuple(error.problems))
        except Exception as error:  # an unknown model may fail in any way
            return Refusal((f"reward.parts.{part}: cannot be used: {type(error).__name__}: {one_line(error)}",))


def _known(column: torch.Tensor) -> list[float | None]:
    """The column with None for NaN, which stands for a failure."""
    return [None if x != x else x for x in column.tolist()]
