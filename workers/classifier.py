"""A sequence classifier and one of its labels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from configs.errors import UsageError
from configs.rewards import LabelledModel, Probe
from learner.limits import check_vocabulary, positions
from learner.pretrained import load_model
from learner.tensors import buckets
from workers.labels import label_index

NO_LIMIT = 10**6
"""transformers gives tokenizers without a limit one of 10^30, which its fast tokenizers cannot take."""


class Classifier:
    """Reads texts in its own tokens, cut to its length."""

    def __init__(self, field: str, config: LabelledModel, device: torch.device) -> None:
        """Raises `UsageError` naming `field` where the model cannot judge texts; on `META` too, in a moment."""
        self.tokenizer = AutoTokenizer.from_pretrained(config.model)
        auto = AutoModelForSequenceClassification
        self.model = load_model(auto, f"{field}.model", config.model, device, config.dtype).eval().to(device)
        shape = self.model.config
        self.label, self.sign = label_index(field, shape.id2label, config.label), 1 if config.label_is == "good" else -1
        # Labels that do not exclude each other, or one alone, have each a probability of its own.
        self.independent = shape.problem_type == "multi_label_classification" or shape.num_labels == 1
        self.max_length = _max_length(positions(self.model), self.tokenizer)
        _check_padding(f"{field}.model", self.model, self.tokenizer)
        check_vocabulary(f"{field}.model", self.model, self.tokenizer)

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
        """Probability of what is bad, of each text."""
        return self.toxicity(self.logits(texts, cut)).tolist()

    def score(self, logits: Tensor) -> Tensor:
        """The logit of the label, of a bad one with the sign turned, [B]."""
        return self.sign * logits[:, self.label]

    def toxicity(self, logits: Tensor) -> Tensor:
        """Probability of what is bad, [B]: P(label) of a bad label, 1 - P(label) of a good one."""
        probability = (logits.sigmoid() if self.independent else logits.softmax(dim=1))[:, self.label]
        return 1 - probability if self.sign > 0 else probability

    def check_direction(self, field: str, probe: Probe) -> None:
        """Raises `UsageError` naming `field` where the better text is the more toxic one."""
        better, worse = self.judge([probe.better, probe.worse])
        if not better < worse:
            raise UsageError(
                f"{field}.label_is: the kind sentence (reward.probe) is toxic by {better:.3f}, the nasty one by "
                f"{worse:.3f}: say whether label {self.model.config.id2label[self.label]!r} names what is good or bad, "
                f"or leave the check out by --reward.probe null"
            )


def _max_length(positions: int | None, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens that tokenizer and positions allow; None where nothing bounds them."""
    limit = min(tokenizer.model_max_length, positions or NO_LIMIT)
    return limit if limit < NO_LIMIT else None


def _check_padding(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UsageError` naming `field` where texts of different lengths could not be read together."""
    if tokenizer.pad_token_id is None:
        raise UsageError(
            f"{field}: its tokenizer has no pad token, so that texts cannot be read together; set pad_token in "
            f"tokenizer_config.json and pad_token_id in config.json to a token that it was trained with"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id  # by which a decoder finds a text's last token
