"""A sequence classifier and one of its labels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from learner.pretrained import choose_dtype
from learner.tensors import buckets
from workers.labels import label_index

NO_LIMIT = 10**6
"""transformers gives tokenizers without a limit one of 10^30, which its fast tokenizers cannot take."""


class Classifier:
    """Reads texts in its own tokens, cut to its length."""

    def __init__(self, model: str, label: str, dtype: str, device: torch.device) -> None:
        """Raises `ValueError` where the model has no single label of that name."""
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        network = AutoModelForSequenceClassification.from_pretrained(model, dtype=choose_dtype(dtype, device))
        self.model = network.eval().to(device)
        shape = self.model.config
        self.label = label_index(shape.id2label, label)
        # Labels that do not exclude each other, or one alone, have each a probability of its own.
        self.independent = shape.problem_type == "multi_label_classification" or shape.num_labels == 1
        self.max_length = _max_length(shape, self.tokenizer)

    @torch.no_grad()
    def logits(self, texts: Sequence[str], cut: str = "right") -> Tensor:
        """Raw logits [B, labels] in float32; of what is too long, the side `cut` is left out."""
        self.tokenizer.truncation_side = cut
        truncation = {"truncation": self.max_length is not None, "max_length": self.max_length}
        inputs = self.tokenizer(list(texts), **truncation)
        rows = buckets(torch.tensor([len(ids) for ids in inputs["input_ids"]]))
        found = [self._logits({name: [column[i] for i in some] for name, column in inputs.items()}) for some in rows]
        return torch.cat(found)[torch.cat(rows).argsort()]

    def _logits(self, inputs: dict[str, list[list[int]]]) -> Tensor:
        padded = self.tokenizer.pad(inputs, return_tensors="pt").to(self.model.device)
        return self.model(**padded).logits.float().cpu()

    def judge(self, texts: Sequence[str], cut: str = "right") -> list[float]:
        """1 - P(label) of each text."""
        return self.toxicity(self.logits(texts, cut)).tolist()

    def toxicity(self, logits: Tensor) -> Tensor:
        """1 - P(label), [B]."""
        probability = logits.sigmoid() if self.independent else logits.softmax(dim=1)
        return 1 - probability[:, self.label]


def _max_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens that tokenizer and positions allow, RoBERTa keeping two positions for itself; None where nothing does."""
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or NO_LIMIT]
    limit = min(limits[0], limits[1] - 2)
    return limit if limit < NO_LIMIT - 2 else None
