"""Reward workers: score completions, and measure what is watched beside the reward."""

from functools import cached_property, partial
from typing import Any

import torch

from configs.evaluation import ClassifierJudge
from configs.reward_parts import RougeReward
from learner.types import Rollouts, Scores, Tensors
from workers.reward.items import Item, Reward, items_of
from workers.reward.rewards import Rewards, Scored
from workers.reward.rules import rouge
from workers.reward.second_judge import Judge, make_judge
from workers.settings import RewardSettings


class RewardWorker:
    """Hosts all parts of the reward."""

    def __init__(self, settings: RewardSettings) -> None:
        self.config, self.judge_config = settings.reward, settings.second_judge
        self.device = torch.device(settings.device)
        self.rewards = Rewards(settings.reward, self.device)

    # Watched measures are loaded with the first completions, so that the first unit is sampled seconds sooner.

    @cached_property
    def rouge(self) -> Reward:
        """ROUGE-L, 0 to 1."""
        return rouge(RougeReward())

    @cached_property
    def second_judge(self) -> Judge | None:
        """The second judge, if any."""
        return self.judge_config and make_judge(self.judge_config, self.device)

    def score(self, rollouts: Rollouts) -> Scores:
        """Scores of one unit's completions. Raises `RewardError` if a part fails whose on_failure is error."""
        return self._score(rollouts, items_of(rollouts))[0]

    def _score(self, rollouts: Rollouts, items: list[Item]) -> tuple[Scores, Scored]:
        unit = rollouts.unit

        def where(i: int) -> str:
            text = rollouts.texts[i]
            return f"unit {unit.index} of step {unit.step}, row {unit.rows[i]}, completion {text!r}"

        scored = self.rewards(items, where)
        watched = self._watch(items, scored)
        return Scores(unit.key, scored.total, scored.parts, scored.total.isnan(), watched), scored

    def _watch(self, items: list[Item], scored: Scored) -> Tensors:
        """Toxicity, ROUGE-L in percent and the second judge, which should not get worse as the reward improves."""
        toxicity = self.rewards.toxicity(scored)
        watched = {} if toxicity is None else {"toxicity": toxicity}
        watched["rougeL"] = 100 * torch.tensor(self.rouge(items))
        if self.second_judge:
            watched["second_judge"] = torch.tensor(self.second_judge([item.completion for item in items]))
        return watched

    def judge(self, rollouts: Rollouts) -> list[dict[str, Any]]:
        """All metrics of each of one unit's completions, for an evaluation; None where unknown."""
        from workers.evaluation.text_metrics import text_metrics

        items = items_of(rollouts)
        scores, scored = self._score(rollouts, items)
        columns = {
            "score": _known(scores.scores),
            **{f"score/{name}": _known(part) for name, part in scores.parts.items()},
            **self._toxicities(items, scored),
            **({"second_judge": scores.watched["second_judge"].tolist()} if self.second_judge else {}),
        }
        rows = text_metrics(rollouts)
        return [{**row, **{name: column[i] for name, column in columns.items()}} for i, row in enumerate(rows)]

    def _toxicities(self, items: list[Item], scored: Scored) -> dict[str, list[float]]:
        """Toxicity of the summary alone and, as in the notebook, with its prompt; the reward has read one of them."""
        from workers.evaluation.evaluate_modules import Toxicity

        if not (name := self.config.toxicity):
            return {}
        measured, judge = scored.readings[name].badness.tolist(), self.rewards.parts[name].judge
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
        if isinstance(self.judge_config, ClassifierJudge) and self.judge_config.probe:
            _ = self.second_judge  # loading it probes it
        return self.rewards.probe()


def _known(column: torch.Tensor) -> list[float | None]:
    """The column with None for NaN, which stands for a failure."""
    return [None if x != x else x for x in column.tolist()]
