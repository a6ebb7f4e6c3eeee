"""Reward workers: replicas of the classifier whose logit is the reward."""

from functools import cached_property, partial
from typing import Any

import torch

from configs.errors import UsageError
from configs.evaluation import ClassifierJudge
from configs.rewards import RougeReward
from learner.types import Rollouts, Scores, Tensors
from workers.reward.classifier import Classifier
from workers.reward.extra_rewards import RewardFunction, call, make_extra
from workers.reward.second_judge import Judge, make_judge
from workers.settings import RewardSettings


class RewardWorker:
    """Scores texts by the logit of the label that the config names."""

    def __init__(self, settings: RewardSettings) -> None:
        self.config, self.judge_config = settings.reward, settings.second_judge
        self.device = torch.device(settings.device)
        self.classifier = Classifier("reward", self.config, self.device)
        self.extras = {extra.name: make_extra(extra) for extra in self.config.extra}
        self.weights = {"classifier": self.config.weight, **{e.name: e.weight for e in self.config.extra}}

    # What is only watched is loaded when the first completions are there: the first unit is made seconds sooner.

    @cached_property
    def rouge(self) -> RewardFunction:
        """ROUGE-L, 0 to 1."""
        return make_extra(RougeReward(name="rouge"))

    @cached_property
    def second_judge(self) -> Judge | None:
        """The second judge's toxicity."""
        return self.judge_config and make_judge(self.judge_config, self.device, self.config.probe)

    def score(self, rollouts: Rollouts) -> Scores:
        """Scores of one unit's completions, or of prompt and completion where the config says so.

        Raises `RewardError` where a reward fails, unless the config says to drop the sample.
        """
        texts, cut = list(rollouts.texts), "right"
        if self.config.text == "prompt+completion":
            texts, cut = _with_prompts(rollouts), "left"
        logits = self.classifier.logits(texts, cut)
        drop = self.config.on_failure == "drop"
        chosen = self.classifier.score(logits).tolist()
        parts = {"classifier": call("classifier", lambda *_: chosen, rollouts, drop)}
        parts |= {name: call(name, extra, rollouts, drop) for name, extra in self.extras.items()}
        tensors = {name: torch.tensor(part) for name, part in parts.items()}
        total = torch.stack([self.weights[name] * part for name, part in tensors.items()]).sum(dim=0)
        watched = {"toxicity": self.classifier.toxicity(logits), **self._watch(rollouts)}
        return Scores(rollouts.unit.key, total, tensors, total.isnan(), watched)

    def _watch(self, rollouts: Rollouts) -> Tensors:
        """ROUGE-L in percent and the second judge's toxicity, which should not get worse as the reward gets better."""
        unit, texts = rollouts.unit, list(rollouts.texts)
        watched = {"rougeL": 100 * torch.tensor(self.rouge(unit.prompts, texts, unit.references))}
        if self.second_judge:
            watched["second_judge"] = torch.tensor(self.second_judge(texts))
        return watched

    def judge(self, rollouts: Rollouts) -> list[dict[str, Any]]:
        """All figures of each of one unit's completions, for an evaluation; None stands for what is not known."""
        from workers.evaluation.evaluate_modules import Toxicity
        from workers.evaluation.text_metrics import text_figures

        scores, texts = self.score(rollouts), list(rollouts.texts)
        # Of the summary alone, and with its prompt, as the notebook scored; the reward has read one of the two already.
        read = scores.watched["toxicity"].tolist()
        if self.config.text == "completion":
            other = Toxicity(partial(self.classifier.judge, cut="left")).compute(predictions=_with_prompts(rollouts))
            alone, both = read, other["toxicity"]
        else:
            alone, both = Toxicity(self.classifier.judge).compute(predictions=texts)["toxicity"], read
        columns = {
            "score": [
                None if dropped else s for s, dropped in zip(scores.scores.tolist(), scores.dropped, strict=True)
            ],
            "toxicity": alone,
            "toxicity_with_prompt": both,
            **({"second_judge": scores.watched["second_judge"].tolist()} if self.second_judge else {}),
        }
        figures = text_figures(rollouts)
        return [{**row, **{name: column[i] for name, column in columns.items()}} for i, row in enumerate(figures)]

    def probe(self) -> dict[str, float] | None:
        """Scores of the config's better and worse text; None without a probe.

        Raises `UsageError` where the reward, or a judge of toxicity, has the two the wrong way round.
        """
        probe, weight = self.config.probe, self.config.weight
        if probe is None:
            return None
        self.classifier.check_direction("reward", probe)
        if isinstance(self.judge_config, ClassifierJudge):
            _ = self.second_judge  # which is probed as it is loaded
        better, worse = self.classifier.score(self.classifier.logits([probe.better, probe.worse])).tolist()
        if weight < 0:
            raise UsageError(
                f"reward.weight: {weight:g} rewards what is bad: a score is higher for what is good already, by "
                f"reward.label_is; make it positive, or leave the check out by --reward.probe null"
            )
        if weight and not better > worse:
            raise UsageError(
                f"reward.label: the raw logit of {self.config.label!r}, which is the reward, is {better:.2f} for "
                f"reward.probe.better and {worse:.2f} for reward.probe.worse, though the label's probability ranks "
                f"them the right way; name another label, or leave the check out by --reward.probe null"
            )
        return {"better": better, "worse": worse}


def _with_prompts(rollouts: Rollouts) -> list[str]:
    return [prompt + text for prompt, text in zip(rollouts.unit.prompts, rollouts.texts, strict=True)]
