"""The reward by a classifier that reads a source and a completion as a pair of texts."""

from collections.abc import Sequence

import torch

from configs.errors import UsageError
from configs.reward_parts import PairReward
from workers.reward.classifier import Classifier
from workers.reward.items import Item, Value, source_texts


class PairScorer:
    """Scores (source, completion); a source too long for the model is read in windows.

    With their maximum, a summary is entailed if any part of its document entails it: SummaC's idea (Laban et al. 2022),
    with windows of tokens in place of sentences. A completion may take half of the model's length; the rest is cut.
    """

    def __init__(self, field: str, config: PairReward, device: torch.device) -> None:
        """Raises `UsageError` naming `field` if the model or its tokenizer is unusable."""
        self.config = config
        self.classifier = Classifier(field, config, device, config.batch_size)
        self.tokenizer = self.classifier.tokenizer
        if not self.tokenizer.is_fast:
            raise UsageError(f"{field}.model: its tokenizer has no tokenizer.json, which windows of a source need")

    def __call__(self, items: Sequence[Item]) -> list[Value]:
        """The score of each completion with its source; of several sources the best counts."""
        sources = [source_texts(item, self.config.source) for item in items]
        owners = [i for i, texts in enumerate(sources) for _ in texts]
        pairs = [(text, self._cut(items[i].completion)) for i, texts in enumerate(sources) for text in texts]
        scores = iter(self._pairs(pairs)) if pairs else iter(())
        found: list[list[float]] = [[] for _ in items]
        for i in owners:
            found[i].append(next(scores))
        return [max(values) if values else ValueError("there is no reference") for values in found]

    def _pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The score of each pair: over its windows the highest or the mean."""
        sources, completions = (list(side) for side in zip(*pairs, strict=True))
        inputs = self.tokenizer(sources, completions, **self._windows())
        owner = torch.tensor(inputs.pop("overflow_to_sample_mapping", range(len(pairs))))
        scores = self.classifier.score(self.classifier.read(inputs), self.config.output)
        reduce = torch.amax if self.config.windows == "max" else torch.mean
        return [reduce(scores[owner == i], dim=0).item() for i in range(len(pairs))]

    def _windows(self) -> dict[str, int | bool | str]:
        limit = self.classifier.max_length
        if limit is None:
            return {}
        narrowest = limit // 2 - self.tokenizer.num_special_tokens_to_add(pair=True)
        return {
            "truncation": "only_first",
            "max_length": limit,
            "stride": max(0, narrowest // 4),  # tokens that neighbours share, so that few sentences are cut in all
            "return_overflowing_tokens": True,
        }

    def _cut(self, text: str) -> str:
        """The text's beginning, as many tokens as are half of the model's length."""
        if (limit := self.classifier.max_length) is None:
            return text
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(offsets) <= limit // 2 else text[: offsets[limit // 2 - 1][1]]
