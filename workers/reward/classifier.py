"""A sequence classifier, read by one of its labels."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from configs.classifiers import LabelledModel, ProbeConfig
from configs.errors import UsageError
from learner.model_limits import check_vocabulary, positions
from learner.pretrained import load_model
from learner.tensors import buckets
from workers.reward.labels import label_index

MULTI_LABEL, REGRESSION = "multi_label_classification", "regression"
"""Values of `problem_type` in a model's config."""
NO_LIMIT = 10**6
"""transformers gives tokenizers without a limit one of 10^30, which its fast tokenizers reject."""


class Classifier:
    """Reads texts with its own tokenizer, truncated to its maximum length."""

    def __init__(self, field: str, config: LabelledModel, device: torch.device, batch_size: int | None = None) -> None:
        """Raises `UsageError` naming `field` if the model is unusable; on `META` this takes only a moment."""
        self.field, self.batch_size = field, batch_size
        self.tokenizer = AutoTokenizer.from_pretrained(config.model)
        auto = AutoModelForSequenceClassification
        self.model = load_model(auto, f"{field}.model", config.model, device, config.dtype).eval().to(device)
        shape = self.model.config
        self.label, self.sign = label_index(field, shape.id2label, config.label), 1 if config.label_is == "good" else -1
        self.label_name = shape.id2label[self.label]
        # Outputs of several labels that do not exclude each other, or of a single label.
        self.independent = shape.problem_type in (MULTI_LABEL, REGRESSION) or shape.num_labels == 1
        # The only output of a reward model or a regression is a number on a scale of its own.
        self.has_probability = not self.independent or shape.problem_type == MULTI_LABEL
        self.max_length = checked_limit(f"{field}.model", self.model, self.tokenizer)

    def logits(self, texts: Sequence[str], cut: str = "right") -> Tensor:
        """Raw logits [B, labels] in float32; texts that are too long are truncated on the side `cut`."""
        return self.read(encode(self.tokenizer, texts, self.max_length, cut))

    @torch.no_grad()
    def read(self, inputs: Mapping[str, list[list[int]]]) -> Tensor:
        """Raw logits [B, labels] in float32 of encoded texts or pairs of texts, unpadded."""
        rows = buckets(torch.tensor([len(ids) for ids in inputs["input_ids"]]))
        rows = [part for some in rows for part in some.split(self.batch_size or len(some))]
        parts = [self._logits({name: [column[i] for i in some] for name, column in inputs.items()}) for some in rows]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _logits(self, inputs: dict[str, list[list[int]]]) -> Tensor:
        padded = self.tokenizer.pad(inputs, return_tensors="pt").to(self.model.device)
        return self.model(**padded).logits.float().cpu()

    def judge(self, texts: Sequence[str], cut: str = "right") -> list[float]:
        """Probability of each text that it is bad."""
        return self.badness(self.logits(texts, cut)).tolist()

    def score(self, logits: Tensor, output: str = "logit") -> Tensor:
        """The logit of the label, negated for a bad label, or the probability of a good text, [B]."""
        return 1 - self.badness(logits) if output == "probability" else self.sign * logits[:, self.label]

    def badness(self, logits: Tensor) -> Tensor:
        """Probability of a bad text, [B]: P(label) for a bad label, 1 - P(label) for a good one."""
        probability = (logits.sigmoid() if self.independent else logits.softmax(dim=1))[:, self.label]
        return 1 - probability if self.sign > 0 else probability

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of a bad text, [B]; distinct even where the probabilities round to 0 or 1 in float32."""
        logits = logits.double()
        others = torch.arange(logits.shape[1]) != self.label
        label_log_odds = logits[:, self.label] - (0 if self.independent else logits[:, others].logsumexp(dim=1))
        return -self.sign * label_log_odds

    def check_direction(self, probe: ProbeConfig) -> None:
        """Raise `UsageError` unless the better text is less bad than the worse one."""
        field, logits = self.field, self.logits([probe.better, probe.worse])
        better, worse = self.log_odds(logits).tolist()
        if math.isnan(better) or math.isnan(worse):
            raise UsageError(f"{field}.model: returns NaN for the texts of {field}.probe; check its weights")
        if not better < worse:
            raise UsageError(
                f"{field}.label_is: {field}.probe.better ({probe.better!r}) {self._found(logits[:1])}, "
                f"{field}.probe.worse ({probe.worse!r}) {self._found(logits[1:])}; set it to whether label "
                f"{self.label_name!r} names something good or bad, choose other texts, or skip "
                f"the check with --{field}.probe null"
            )

    def _found(self, logits: Tensor) -> str:
        if self.has_probability:
            return f"is bad with probability {self.badness(logits).item():.3f}"
        return f"has score {self.score(logits).item():.2f}"


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], limit: int | None, cut: str
) -> Mapping[str, list[list[int]]]:
    """Texts as a classifier reads them, unpadded; those of more than `limit` tokens are truncated on the side `cut`."""
    tokenizer.truncation_side = cut
    return tokenizer(list(texts), truncation=limit is not None, max_length=limit)


def checked_limit(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Maximum tokens of a text; None if unlimited.

    Raises `UsageError` naming `field` if texts cannot be batched, or the tokenizer is another model's.
    """
    _check_padding(field, model, tokenizer)
    check_vocabulary(field, model, tokenizer)
    return _max_length(model, tokenizer)


def _max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Maximum tokens by tokenizer, position table and config; None if unlimited."""
    configured = getattr(model.config, "max_position_embeddings", None) or 0  # -1: XLNet
    bounds = (tokenizer.model_max_length, positions(model), configured if configured > 0 else None)
    limit = min(bound or NO_LIMIT for bound in bounds)
    return limit if limit < NO_LIMIT else None


def _check_padding(field: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `UsageError` naming `field` if texts of different lengths cannot be batched."""
    if tokenizer.pad_token_id is None:
        raise UsageError(
            f"{field}: its tokenizer has no pad token, so texts cannot be batched; set pad_token in "
            f"tokenizer_config.json and pad_token_id in config.json to a token that the model was trained with"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id  # decoder models find a text's last token by it
