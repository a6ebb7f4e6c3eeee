"""The reward's verdicts on single texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.inference.text import encodable
from workers.reward.classifier import Classifier
from workers.reward.items import Item
from workers.reward.rewards import Rewards
from workers.settings import ScorerSettings


@dataclass(frozen=True)
class Labels:
    """A classifier's output for a text, by label name."""

    logits: dict[str, float]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """What the reward says of a text; None: unknown, because a part failed."""

    total: float | None
    parts: dict[str, float | None]
    labels: dict[str, list[Labels]]  # of each classifier of single texts, by part
    toxicity: float | None  # None also if no part measures it


class Scorer:
    """Hosts the parts of the reward."""

    def __init__(self, settings: ScorerSettings) -> None:
        self.rewards = Rewards(settings.reward, torch.device(settings.device))
        self.rewards.probe()

    def score(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict per item; texts that are too long are truncated."""
        clean = [_encodable(item) for item in items]
        scored = self.rewards(clean)
        toxicity = self.rewards.toxicity(scored)
        labels = {
            name: [_labels(*pair) for pair in zip(self.rewards.parts[name].members, reading.logits, strict=True)]
            for name, reading in scored.readings.items()
        }
        return [
            Verdict(
                total=_known(scored.total[i]),
                parts={name: _known(scores[i]) for name, scores in scored.parts.items()},
                labels={name: [member[i] for member in members] for name, members in labels.items()},
                toxicity=None if toxicity is None else _known(toxicity[i]),
            )
            for i in range(len(items))
        ]


def _encodable(item: Item) -> Item:
    references = tuple(map(encodable, item.references))
    return replace(item, completion=encodable(item.completion), prompt=encodable(item.prompt), references=references)


def _labels(classifier: Classifier, logits: Tensor) -> list[Labels]:
    """A classifier's logits [B, labels] and their probabilities, by label for each text."""
    names: Mapping[int, str] = classifier.model.config.id2label
    probabilities = logits.sigmoid() if classifier.independent else logits.softmax(dim=1)
    rows = zip(logits.tolist(), probabilities.tolist(), strict=True)
    return [Labels(*({names[i]: x for i, x in enumerate(numbers)} for numbers in row)) for row in rows]


def _known(number: Tensor) -> float | None:
    return None if number.isnan() else number.item()
