"""Reward workers: replicas of the classifier whose logit is the reward."""

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from configs.schema import Config
from learner.pretrained import choose_dtype, device_of
from learner.types import Rollouts, Scores
from workers.extras import call, make_extra
from workers.labels import label_index

NO_LIMIT = 10**6
"""transformers gives tokenizers without a limit one of 10^30, which its fast tokenizers cannot take."""


class RewardWorker:
    """Scores texts by the raw logit of the label that the config names."""

    def __init__(self, config: Config) -> None:
        self.config = config.reward
        # Where prompt and completion are scored and too long together, it is the prompt that is cut.
        side = "right" if self.config.text == "completion" else "left"
        self.tokenizer = AutoTokenizer.from_pretrained(self.config.model, truncation_side=side)
        device = device_of(config.cluster.resources.reward)
        model = AutoModelForSequenceClassification.from_pretrained(
            self.config.model, dtype=choose_dtype(self.config.dtype, device)
        )
        self.model = model.eval().to(device)
        self.label = label_index(self.model.config.id2label, self.config.label)
        # Labels that do not exclude each other, or one alone, have each a probability of its own.
        shape = self.model.config
        self.independent = shape.problem_type == "multi_label_classification" or shape.num_labels == 1
        self.extras = {extra.name: make_extra(extra) for extra in self.config.extra}
        self.weights = {"classifier": self.config.weight, **{e.name: e.weight for e in self.config.extra}}
        self.max_length = _max_length(self.model.config, self.tokenizer)

    def score(self, rollouts: Rollouts) -> Scores:
        """Scores of one unit's completions, or of prompt and completion where the config says so.

        Raises `RewardError` where a reward fails, unless the config says to drop the sample.
        """
        texts = rollouts.texts
        if self.config.text == "prompt+completion":
            texts = [prompt + text for prompt, text in zip(rollouts.unit.prompts, texts, strict=True)]
        logits = self.logits(list(texts))
        probability = (logits.sigmoid() if self.independent else logits.softmax(dim=1))[:, self.label]
        drop = self.config.on_failure == "drop"
        chosen = logits[:, self.label].tolist()
        parts = {"classifier": call("classifier", lambda *_: chosen, rollouts, drop)}
        parts |= {name: call(name, extra, rollouts, drop) for name, extra in self.extras.items()}
        tensors = {name: torch.tensor(part) for name, part in parts.items()}
        total = torch.stack([self.weights[name] * part for name, part in tensors.items()]).sum(dim=0)
        return Scores(rollouts.unit.key, total, tensors, 1 - probability, total.isnan())

    @torch.no_grad()
    def logits(self, texts: list[str]) -> Tensor:
        """Raw logits [B, labels] in float32, each text in the reward model's own tokens and cut to its length."""
        inputs = self.tokenizer(
            texts, padding=True, truncation=self.max_length is not None, max_length=self.max_length, return_tensors="pt"
        )
        return self.model(**inputs.to(self.model.device)).logits.float().cpu()

    def probe(self) -> dict[str, float] | None:
        """Weighted scores of the config's better and worse text, which must be in that order; None without a probe."""
        if self.config.probe is None:
            return None
        better, worse = self.logits([self.config.probe.better, self.config.probe.worse])[:, self.label].tolist()
        return {"better": self.config.weight * better, "worse": self.config.weight * worse}


def _max_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens that tokenizer and positions allow, RoBERTa keeping two positions for itself; None where nothing does."""
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or NO_LIMIT]
    limit = min(limits[0], limits[1] - 2)
    return limit if limit < NO_LIMIT - 2 else None
