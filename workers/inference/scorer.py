"""The reward model's verdicts on single texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.inference.text import encodable
from workers.reward.classifier import Classifier
from workers.settings import ScorerSettings


@dataclass(frozen=True)
class Verdict:
    """The reward model's output for a text, by label name."""

    logits: dict[str, float]
    probabilities: dict[str, float]
    toxicity: float  # probability of the bad outcome


class Scorer:
    """Hosts the reward model."""

    def __init__(self, settings: ScorerSettings) -> None:
        reward = settings.reward
        self.classifier = Classifier("reward", reward, torch.device(settings.device))
        if reward.probe:
            self.classifier.check_direction("reward", reward.probe)
        self.labels = [name for _, name in sorted(self.classifier.model.config.id2label.items())]

    def score(self, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text; texts that are too long are truncated on the right."""
        logits = self.classifier.logits([encodable(text) for text in texts])
        probabilities = logits.sigmoid() if self.classifier.independent else logits.softmax(dim=1)
        toxicity = self.classifier.toxicity(logits).tolist()
        return [
            Verdict(*row) for row in zip(self._by_label(logits), self._by_label(probabilities), toxicity, strict=True)
        ]

    def _by_label(self, numbers: Tensor) -> list[dict[str, float]]:
        """Each row of [B, labels] as numbers by label."""
        return [dict(zip(self.labels, row, strict=True)) for row in numbers.tolist()]
