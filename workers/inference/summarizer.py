"""Summaries by any adapter of one base model.

A summary depends only on its own request, not on others in the same batch, except for rounding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import get_peft_model
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer

from configs.decoding import SamplingConfig
from configs.policy import PolicyConfig
from learner.adapter import BASE, Adapter, read_adapter
from learner.family import end_ids
from learner.lora import check_fits, common_shape, fit, lora_config, with_named_targets
from learner.model_limits import prompt_positions
from learner.policy import Policy
from learner.seeds import seed_from
from learner.tensors import pad_cat
from workers.data.languages import decoder_prefix, encode
from workers.inference.text import encodable
from workers.rollout.distribution import Distribution, Drawn
from workers.rollout.sampling import AnyDecoder, Choose, complete, draw
from workers.rollout.t5_decoder import T5Decoder
from workers.settings import SummarizerSettings, SummaryFormat


class TooLong(ValueError):
    """A dialogue whose prompt has more tokens than the policy takes."""

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens, self.limit = tokens, limit
        super().__init__(tokens, limit)  # the arguments of __init__, so that it can be sent to another process

    def __str__(self) -> str:
        return f"the dialogue makes a prompt of {self.tokens} tokens; the limit is {self.limit}"


@dataclass(frozen=True)
class SummaryRequest:
    """A dialogue to summarize: sampled with a seed, greedy without one."""

    dialogue: str
    seed: int | None = None
    format: SummaryFormat | None = None  # None: the summarizer's own


@dataclass(frozen=True)
class TokenizedRequest:
    """A request as the policy's token ids."""

    ids: tuple[int, ...]
    prefix: tuple[int, ...]  # what the decoder reads before the summary
    seed: int | None
    max_new_tokens: int
    sampling: SamplingConfig


class Summarizer:
    """Hosts the base model and summarizes with any adapter for it."""

    def __init__(self, settings: SummarizerSettings) -> None:
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings.policy.model)
        # The bare model, even where runs start from an adapter; LoRA layers grow when a larger adapter is requested.
        self.largest = with_named_targets(settings.policy.model_copy(update={"adapter": None}))
        self.policy = ResizablePolicy(self.largest, settings.seed, torch.device(settings.device))
        self.decoder = T5Decoder.of(self.policy) or AnyDecoder(self.policy)
        self.ends = end_ids("policy.model", self.policy.network, self.tokenizer)
        self.positions = prompt_positions(self.policy.network) or math.inf
        self.current: Adapter | None = None

    def read(self, folder: str) -> Adapter:
        """The adapter of a PEFT directory, or for `BASE` an empty one; may be called while `summarize` runs.

        Raises `UsageError` if it cannot be read or belongs to another model.
        """
        if folder == BASE:
            return Adapter(lora_config(self.largest), {})
        adapter = read_adapter("adapters", folder)
        check_fits(adapter, f"adapters: {folder}", self.largest)  # before it enlarges the LoRA layers for all
        return adapter

    def tokenize(self, request: SummaryRequest) -> TokenizedRequest:
        """The request as token ids. Raises `TooLong`."""
        text, format = encodable(request.dialogue), request.format or self.settings.format
        source, target = format.languages
        [ids] = encode(self.tokenizer, [format.template.replace("{text}", text)], [source])
        own = self.policy.decoder_prefix
        prefix = decoder_prefix(own, self.tokenizer, target, format.target_prefix) or own
        if len(ids) > (longest := min(format.max_prompt_tokens, self.positions)):
            raise TooLong(len(ids), longest)
        return TokenizedRequest(tuple(ids), prefix, request.seed, format.max_new_tokens, format.sampling)

    @torch.no_grad()
    def summarize(self, requests: Sequence[TokenizedRequest], adapter: Adapter) -> list[str]:
        """One summary per request, whose prefixes must have the same length."""
        self._load(adapter)
        device, lengths = self.policy.device, [request.max_new_tokens for request in requests]
        ids = pad_cat([torch.tensor([request.ids]) for request in requests])
        mask = torch.arange(ids.shape[1]) < torch.tensor([[len(request.ids)] for request in requests])
        choose = _choose(requests, device)
        prefix = torch.tensor([request.prefix for request in requests])
        encoded, limits = self.policy.encode(ids, mask, prefix), torch.tensor(lengths, device=device)
        found = complete(self.decoder, encoded, max(lengths), limits, choose, self.ends)
        rows = zip(found.ids, found.mask, strict=True)
        return [self.tokenizer.decode(row[keep], skip_special_tokens=True) for row, keep in rows]

    def _load(self, adapter: Adapter) -> None:
        if adapter is self.current:
            return
        lora = self.largest.lora
        common = common_shape([Adapter(lora_config(self.largest), {}), adapter])
        if common.r > lora.r or set(common.target_modules) - set(lora.target_modules):
            lora = common
            self.largest = self.largest.model_copy(update={"lora": lora})
            self.policy.resize(self.largest)
            self.decoder = T5Decoder.of(self.policy) or AnyDecoder(self.policy)
        for name, tensor in fit(adapter, self.policy.adapter, lora).items():
            self.policy.adapter[name].copy_(tensor)
        self.current = adapter


class ResizablePolicy(Policy):
    """A policy whose LoRA layers can be replaced by layers of another shape, on the same frozen weights."""

    def resize(self, config: PolicyConfig) -> None:
        """Replace the LoRA layers by new ones of the shape in `config`."""
        self.peft = get_peft_model(self.peft.unload(), lora_config(config)).eval().to(self.device)
        self.network = self.peft.get_base_model()
        self.adapter = self._saved_tensors()


def _choose(requests: Sequence[TokenizedRequest], device: torch.device) -> Choose:
    """Chooses each row's most likely token, or draws one with random numbers from the request's own seed."""
    greedy = torch.tensor([request.seed is None for request in requests], device=device)
    points = pad_sequence([_uniforms(r.seed, r.max_new_tokens) for r in requests], batch_first=True).to(
        device
    )  # [B, T]
    logprobs_of = _distributions([request.sampling for request in requests], device)

    def choose(logits: Tensor, rows: Tensor, t: int) -> tuple[Tensor, Drawn]:
        logprobs = logprobs_of(logits, rows)
        token = torch.where(greedy[rows], logprobs.argmax(dim=-1), draw(logprobs, points[rows, t]))
        return token, Drawn(logprobs, torch.zeros(len(rows), 0, dtype=torch.uint8, device=device))

    return choose


def _distributions(settings: Sequence[SamplingConfig], device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits [b, V], positions [b] of these rows in the batch) -> log-probabilities [b, V], by each row's settings."""
    distinct = list(dict.fromkeys(settings))
    distributions = [Distribution(sampling) for sampling in distinct]
    number = torch.tensor([distinct.index(sampling) for sampling in settings], device=device)

    def logprobs(logits: Tensor, rows: Tensor) -> Tensor:
        if len(distributions) == 1:
            return distributions[0](logits).logprobs
        result = torch.empty_like(logits)
        for i, distribution in enumerate(distributions):
            own = number[rows] == i
            result[own] = distribution(logits[own]).logprobs
        return result

    return logprobs


def _uniforms(seed: int | None, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_from("summary", str(seed)))
    return torch.rand(length, generator=generator, dtype=torch.double)
