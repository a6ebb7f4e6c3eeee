"""Reward workers: replicas of the classifier whose logit is the reward."""

from functools import cached_property, partial
from typing import Any

import torch

from configs.errors import UsageError
from configs.evaluation import ClassifierJudge
from configs.rewards import RougeReward
from learner.types import Rollouts, Scores, Tensors
from workers.reward.classifier import Classifier
from workers.reward.extra_rewards import RewardFunction, call_reward, make_extra
from workers.reward.second_judge import Judge, make_judge
from workers.settings import RewardSettings


class RewardWorker:
    """Scores texts by the logit of the configured label, and by the extra rewards."""

    def __init__(self, settings: RewardSettings) -> None:
        self.config, self.judge_config = settings.reward, settings.second_judge
        self.device = torch.device(settings.device)
        self.classifier = Classifier("reward", self.config, self.device)
        self.extras = {extra.name: make_extra(extra) for extra in self.config.extra}
        self.weights = {"classifier": self.config.weight, **{e.name: e.weight for e in self.config.extra}}

    # Watched measures are loaded with the first completions, so that the first unit is sampled seconds sooner.

    @cached_property
    def rouge(self) -> RewardFunction:
        """ROUGE-L, 0 to 1."""
        return make_extra(RougeReward(name="rouge"))

    @cached_property
    def second_judge(self) -> Judge | None:
        """The second judge, if any."""
        return self.judge_config and make_judge(self.judge_config, self.device, self.config.probe)

    def score(self, rollouts: Rollouts) -> Scores:
        """Scores of one unit's completions, or of prompt and completion, as reward.text says.

        Raises `RewardError` if a reward fails, unless reward.on_failure is drop.
        """
        texts, cut = list(rollouts.texts), "right"
        if self.config.text == "prompt+completion":
            texts, cut = _with_prompts(rollouts), "left"
        logits = self.classifier.logits(texts, cut)
        drop = self.config.on_failure == "drop"
        label_logits = self.classifier.score(logits).tolist()
        parts = {"classifier": call_reward("classifier", lambda *_: label_logits, rollouts, drop)}
        parts |= {name: call_reward(name, extra, rollouts, drop) for name, extra in self.extras.items()}
        tensors = {name: torch.tensor(part) for name, part in parts.items()}
        total = torch.stack([self.weights[name] * part for name, part in tensors.items()]).sum(dim=0)
        watched = {"toxicity": self.classifier.toxicity(logits), **self._watch(rollouts)}
        return Scores(rollouts.unit.key, total, tensors, total.isnan(), watched)

    def _watch(self, rollouts: Rollouts) -> Tensors:
        """ROUGE-L in percent and the second judge's toxicity, which should not get worse as the reward improves."""
        unit, texts = rollouts.unit, list(rollouts.texts)
        watched = {"rougeL": 100 * torch.tensor(self.rouge(unit.prompts, texts, unit.references))}
        if self.second_judge:
            watched["second_judge"] = torch.tensor(self.second_judge(texts))
        return watched

    def judge(self, rollouts: Rollouts) -> list[dict[str, Any]]:
        """All metrics of each of one unit's completions, for an evaluation; None where unknown."""
        from workers.evaluation.evaluate_modules import Toxicity
        from workers.evaluation.text_metrics import text_metrics

        scores, texts = self.score(rollouts), list(rollouts.texts)
        # Toxicity of the summary alone and, as in the notebook, with its prompt; the reward has computed one of them.
        computed = scores.watched["toxicity"].tolist()
        if self.config.text == "completion":
            other = Toxicity(partial(self.classifier.judge, cut="left")).compute(predictions=_with_prompts(rollouts))
            alone, both = computed, other["toxicity"]
        else:
            alone, both = Toxicity(self.classifier.judge).compute(predictions=texts)["toxicity"], computed
        columns = {
            "score": [
                None if dropped else s for s, dropped in zip(scores.scores.tolist(), scores.dropped, strict=True)
            ],
            "toxicity": alone,
            "toxicity_with_prompt": both,
            **({"second_judge": scores.watched["second_judge"].tolist()} if self.second_judge else {}),
        }
        rows = text_metrics(rollouts)
        return [{**row, **{name: column[i] for name, column in columns.items()}} for i, row in enumerate(rows)]

    def probe(self) -> dict[str, float] | None:
        """Scores of the config's better and worse text; None without a probe.

        Raises `UsageError` if the reward or a toxicity judge ranks the two the wrong way round.
        """
        probe, weight = self.config.probe, self.config.weight
        if probe is None:
            return None
        self.classifier.check_direction("reward", probe)
        if isinstance(self.judge_config, ClassifierJudge):
            _ = self.second_judge  # loading it probes it
        better, worse = self.classifier.score(self.classifier.logits([probe.better, probe.worse])).tolist()
        if weight < 0:
            raise UsageError(
                f"reward.weight: {weight:g} rewards bad texts: scores are already higher for good ones, by "
                f"reward.label_is; make it positive, or skip the check with --reward.probe null"
            )
        if weight and not better > worse:
            raise UsageError(
                f"reward.label: the raw logit of {self.config.label!r}, which is the reward, is {better:.2f} for "
                f"reward.probe.better and {worse:.2f} for reward.probe.worse, though the label's probability ranks "
                f"them correctly; choose another label, or skip the check with --reward.probe null"
            )
        return {"better": better, "worse": worse}


def _with_prompts(rollouts: Rollouts) -> list[str]:
    return [prompt + text for prompt, text in zip(rollouts.unit.prompts, rollouts.texts, strict=True)]
