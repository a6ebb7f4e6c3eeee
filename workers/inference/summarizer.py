"""Models that answer people: summaries by any adapter of one base model, and verdicts of the reward model.

Each answer depends on its own question only, not on those that are worked on beside it, but for rounding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import get_peft_model
from torch import Tensor
from transformers import AutoTokenizer

from configs import schema
from configs.schema import Config
from learner.adapter import Adapter, read_adapter
from learner.lora import check_fits, common_shape, fit, lora_config
from learner.model_limits import end_ids, prompt_positions
from learner.policy import Policy
from learner.pretrained import device_of
from learner.seeds import seed_from
from learner.tensors import pad_cat
from workers.reward.classifier import Classifier
from workers.rollout.sampling import AnyDecoder, Choose, complete, draw
from workers.rollout.t5_decoder import T5Decoder

BASE = "base"
"""Name of the adapter that adds nothing."""


class TooLong(ValueError):
    """A dialogue with more tokens than the policy is given."""

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens, self.limit = tokens, limit
        super().__init__(tokens, limit)  # all that it is made of, so that it can be sent to another process

    def __str__(self) -> str:
        return f"the dialogue makes a prompt of {self.tokens} tokens; at most {self.limit} are taken"


@dataclass(frozen=True)
class Question:
    """A dialogue to be summarized; without a seed by the likeliest tokens."""

    dialogue: str
    seed: int | None = None


@dataclass(frozen=True)
class Tokenized:
    """A question as the policy reads it."""

    ids: tuple[int, ...]
    seed: int | None


@dataclass(frozen=True)
class Verdict:
    """What the reward model says of a text, by the names of its labels."""

    logits: dict[str, float]
    probabilities: dict[str, float]
    toxicity: float  # probability of what is bad


class Summarizer:
    """Hosts the base model and becomes the policy of whatever adapter it is handed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
        # The bare model, also where runs begin with an adapter; the room for one grows when a larger one comes.
        self.room = config.policy.model_copy(update={"adapter": None})
        self.policy = _Roomy(self.room, config.seed, device_of(config.cluster.resources.rollout))
        self.decoder = T5Decoder.of(self.policy) or AnyDecoder(self.policy)
        self.ends = end_ids("policy.model", self.policy.network, self.tokenizer)
        self.longest = min(config.data.max_prompt_tokens, prompt_positions(self.policy.network) or math.inf)
        self.current: Adapter | None = None

    def read(self, folder: str) -> Adapter:
        """The adapter of a PEFT directory, or the one that adds nothing; may be called while others are answered.

        Raises `UsageError` where it cannot be read or is of another model.
        """
        if folder == BASE:
            return Adapter(lora_config(self.room), {})
        adapter = read_adapter("adapters", folder)
        check_fits(adapter, f"adapters: {folder}", self.room)  # before it makes the room larger for all
        return adapter

    def tokenize(self, question: Question) -> Tokenized:
        """The question as the policy reads it. Raises `TooLong`."""
        template = self.config.data.template
        ids = self.tokenizer(template.replace("{text}", _text(question.dialogue)))["input_ids"]
        if len(ids) > self.longest:
            raise TooLong(len(ids), self.longest)
        return Tokenized(tuple(ids), question.seed)

    @torch.no_grad()
    def summarize(self, questions: Sequence[Tokenized], adapter: Adapter) -> list[str]:
        """A summary for each."""
        self._become(adapter)
        device, length = self.policy.device, self.config.rollout.max_new_tokens
        ids = pad_cat([torch.tensor([question.ids]) for question in questions])
        mask = torch.arange(ids.shape[1]) < torch.tensor([[len(question.ids)] for question in questions])
        limits = torch.full((len(questions),), length, device=device)
        choose = _choose([question.seed for question in questions], length, device)
        encoded = self.policy.encode(ids, mask)
        ids, mask, _ = complete(self.decoder, encoded, length, limits, choose, self.ends)
        return [self.tokenizer.decode(row[keep], skip_special_tokens=True) for row, keep in zip(ids, mask, strict=True)]

    def _become(self, adapter: Adapter) -> None:
        if adapter is self.current:
            return
        lora = self.room.lora
        common = common_shape([Adapter(lora_config(self.room), {}), adapter])
        if common.r > lora.r or set(common.target_modules) - set(lora.target_modules):
            lora = common
            self.room = self.room.model_copy(update={"lora": lora})
            self.policy.make_room(self.room)
            self.decoder = T5Decoder.of(self.policy) or AnyDecoder(self.policy)
        for name, tensor in fit(adapter, self.policy.adapter, lora).items():
            self.policy.adapter[name].copy_(tensor)
        self.current = adapter


class _Roomy(Policy):
    """A policy whose adapter may be replaced by one of another shape, on the same frozen weights."""

    def make_room(self, config: schema.Policy) -> None:
        self.peft = get_peft_model(self.peft.unload(), lora_config(config)).eval().to(self.device)
        self.network = self.peft.get_base_model()
        self.adapter = self._saved_tensors()


def _choose(seeds: Sequence[int | None], length: int, device: torch.device) -> Choose:
    """The likeliest token, or one drawn by numbers that come from the question's own seed."""
    greedy = torch.tensor([seed is None for seed in seeds], device=device)
    points = torch.stack([_points(seed, length) for seed in seeds]).to(device)  # [B, T]

    def choose(logprobs: Tensor, rows: Tensor, t: int) -> Tensor:
        return torch.where(greedy[rows], logprobs.argmax(dim=-1), draw(logprobs, points[rows, t]))

    return choose


def _points(seed: int | None, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_from("summary", str(seed)))
    return torch.rand(length, generator=generator, dtype=torch.double)


def _text(text: str) -> str:
    """The text with a ? for each half of a surrogate pair, which JSON can bring and no tokenizer takes."""
    return text.encode(errors="replace").decode()


class Scorer:
    """Hosts the reward model."""

    def __init__(self, config: Config) -> None:
        reward, device = config.reward, device_of(config.cluster.resources.reward)
        self.classifier = Classifier("reward", reward, device)
        if reward.probe:
            self.classifier.check_direction("reward", reward.probe)
        self.labels = [name for _, name in sorted(self.classifier.model.config.id2label.items())]

    def score(self, texts: Sequence[str]) -> list[Verdict]:
        """A verdict on each; a text that is too long is cut on the right."""
        logits = self.classifier.logits([_text(text) for text in texts])
        probabilities = logits.sigmoid() if self.classifier.independent else logits.softmax(dim=1)
        toxicity = self.classifier.toxicity(logits).tolist()
        return [Verdict(*row) for row in zip(self._named(logits), self._named(probabilities), toxicity, strict=True)]

    def _named(self, numbers: Tensor) -> list[dict[str, float]]:
        """Of each row of [B, labels], the numbers by label."""
        return [dict(zip(self.labels, row, strict=True)) for row in numbers.tolist()]
