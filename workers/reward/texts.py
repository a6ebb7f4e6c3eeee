"""The reward by classifiers of single texts: one, or an ensemble."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from configs.classifiers import ProbeConfig
from configs.errors import UsageError
from configs.reward_parts import ClassifierReward, EnsembleReward
from workers.reward.classifier import Classifier
from workers.reward.items import Item


class Reading(NamedTuple):
    """What the classifiers say of texts."""

    scores: Tensor  # [B]
    badness: Tensor  # [B], mean probability of a bad text
    logits: list[Tensor]  # [B, labels] of each classifier


def texts_to_read(items: Sequence[Item], text: str) -> tuple[list[str], str]:
    """What a reward model reads of each item, by the setting `text`; and on which side too long a text is truncated."""
    if text == "completion":
        return [item.completion for item in items], "right"
    return [item.prompt + item.completion for item in items], "left"


class TextScorer:
    """Scores texts by one classifier, or by the mean of several minus their standard deviation."""

    def __init__(self, field: str, config: ClassifierReward | EnsembleReward, device: torch.device) -> None:
        """Raises `UsageError` naming `field` if a model is unusable, or has no probability for `toxicity`."""
        self.field, self.config = field, config
        several = isinstance(config, EnsembleReward)
        models = {f"{field}.members.{i}": m for i, m in enumerate(config.members)} if several else {field: config}
        self.members = [Classifier(name, model, device, config.batch_size) for name, model in models.items()]
        self.probes = [model.probe for model in models.values()]
        self.std_coef = config.std_coef if several else 0.0
        scales = [member for member in self.members if not member.has_probability]
        if config.toxicity and config.output == "logit" and scales:
            raise UsageError(
                f"{field}.toxicity: the only output of {scales[0].field}.model is a number, not a probability; set "
                f"toxicity false, or output probability if its sigmoid is one"
            )

    def __call__(self, items: Sequence[Item]) -> list[float]:
        """Score of each completion, or of prompt and completion."""
        return self.read_items(items).scores.tolist()

    def read_items(self, items: Sequence[Item]) -> Reading:
        """The reading of each completion, or of prompt and completion."""
        return self.read(*texts_to_read(items, self.config.text))

    def read(self, texts: Sequence[str], cut: str = "right") -> Reading:
        """The reading of the texts; those that are too long are truncated on the side `cut`."""
        logits = [member.logits(texts, cut) for member in self.members]
        pairs = list(zip(self.members, logits, strict=True))
        outputs = torch.stack([member.score(x, self.config.output) for member, x in pairs])
        # Eisenstein et al. 2023, "Helping or herding?": an ensemble's mean minus its standard deviation.
        scores = outputs.mean(dim=0) - self.std_coef * outputs.std(dim=0, correction=0)
        return Reading(scores, torch.stack([member.badness(x) for member, x in pairs]).mean(dim=0), logits)

    def judge(self, texts: Sequence[str], cut: str = "right") -> list[float]:
        """Probability of each text that it is bad."""
        return self.read(texts, cut).badness.tolist()

    def probe(self, weight: float) -> list[tuple[float, float]]:
        """Each classifier's scores of the better and the worse text of its probe, if it has one.

        Raises `UsageError` if a classifier ranks them the wrong way round, or the part's `weight` does.
        """
        pairs = zip(self.members, self.probes, strict=True)
        return [self._probe(member, probe, weight) for member, probe in pairs if probe]

    def _probe(self, member: Classifier, probe: ProbeConfig, weight: float) -> tuple[float, float]:
        member.check_direction(probe)
        better, worse = member.score(member.logits([probe.better, probe.worse]), self.config.output).tolist()
        skip = f"or skip the check with --{member.field}.probe null"
        if weight < 0:
            raise UsageError(
                f"{self.field}.weight: {weight:g} rewards bad texts: scores are already higher for good "
                f"ones, by label_is; make it positive, {skip}"
            )
        if weight and self.config.output == "logit" and not better > worse:
            raise UsageError(
                f"{member.field}.label: the raw logit of {member.label_name!r}, which is the score, is {better:.2f} "
                f"for {member.field}.probe.better and {worse:.2f} for {member.field}.probe.worse, though the label's "
                f"probability ranks them correctly; choose another label, {skip}"
            )
        return better, worse
