"""Token-by-token sampling with any decoder.

transformers' own `generate` is not used: a generation config may add processors (min_length, forced tokens, top-k), so
that tokens would be sampled from another distribution than the recorded log-probabilities.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from configs.decoding import SamplingConfig
from configs.rollout import RolloutConfig
from learner.family import decoder_inputs
from learner.policy import Encoded, Policy
from learner.types import WorkUnit
from workers.rollout.distribution import Distribution, Drawn

LEAVE = 0.75
"""Finished rows leave the batch, which costs a copy, once at most this share of its rows is unfinished."""


Choose = Callable[[Tensor, Tensor, int], tuple[Tensor, Drawn]]
"""(logits [b, V], positions [b] of these rows in the batch, t) -> next tokens [b] and what they were drawn from."""


class Completions(NamedTuple):
    """What was decoded, on the CPU."""

    ids: Tensor  # [B, T]
    mask: Tensor  # [B, T], True through EOS
    logprobs: Tensor  # [B, T]
    sampling_mask: Tensor  # [B, T, V / 8], bits of the tokens that could be drawn; [B, T, 0] if all could


class DecodingState(Protocol):
    """Completions in progress."""

    def __call__(self, token: Tensor) -> Tensor:
        """From the last tokens [B], the next ones' logits [B, V] in float32."""

    def keep(self, rows: Tensor) -> None:
        """Continue with these rows only."""


class Decoder(Protocol):
    """Something that completes prompts."""

    def begin(self, encoded: Encoded, length: int) -> DecodingState:
        """Start completions; the decoder reads at most `length` tokens, those of the prefix included."""


class AnyDecoder:
    """The policy model's own decoder, with its own cache of past keys and values."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def begin(self, encoded: Encoded, length: int) -> DecodingState:
        """Start completions; each row has its own copy of its encoded prompt."""
        return _CachedState(self.policy, encoded)


class _CachedState:
    def __init__(self, policy: Policy, encoded: Encoded) -> None:
        self.network, self.encoded, self.mask = policy.network, encoded.output(), encoded.row_mask().long()
        self.cache: Any = None

    def __call__(self, token: Tensor) -> Tensor:
        out = self.network(
            encoder_outputs=self.encoded,
            attention_mask=self.mask,
            **decoder_inputs(self.network, token.unsqueeze(1), cached=True),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = out.past_key_values
        return out.logits[:, -1].float()

    def keep(self, rows: Tensor) -> None:
        self.encoded = type(self.encoded)(last_hidden_state=self.encoded.last_hidden_state[rows])
        self.mask = self.mask[rows]
        self.cache.batch_select_indices(rows)


def sample(
    decoder: Decoder, encoded: Encoded, unit: WorkUnit, config: RolloutConfig, ends: Sequence[int]
) -> Completions:
    """Complete the prompts of a unit, each up to one of the tokens `ends`."""
    device, size = encoded.states.device, len(encoded.prompt_index)
    generator = torch.Generator(device).manual_seed(unit.seed)
    limits = _limits(size, config, generator)
    # The likeliest token is one of the whole vocabulary.
    distribution = Distribution(SamplingConfig(temperature=config.temperature) if unit.decoding else config)

    def choose(logits: Tensor, rows: Tensor, t: int) -> tuple[Tensor, Drawn]:
        # Draw for all rows, also those that have left, so that it does not matter which rows leave when.
        point = torch.rand(size, generator=generator, device=device, dtype=torch.double)
        drawn = distribution(logits)
        return drawn.logprobs.argmax(dim=-1) if unit.decoding else draw(drawn.logprobs, point[rows]), drawn

    return complete(decoder, encoded, config.max_new_tokens, limits, choose, ends)


@torch.no_grad()
def complete(
    decoder: Decoder, encoded: Encoded, length: int, limits: Tensor, choose: Choose, ends: Sequence[int]
) -> Completions:
    """Complete prompts token by token, each up to its limit [B] of at most `length`."""
    device, size = encoded.states.device, len(encoded.prompt_index)
    ids = torch.zeros(size, length, dtype=torch.long, device=device)
    mask, logprobs = torch.zeros_like(ids, dtype=torch.bool), torch.zeros(ids.shape, device=device)
    rows, alive = torch.arange(size, device=device), torch.ones(size, dtype=torch.bool, device=device)
    *context, token = encoded.prefix.unbind(dim=1)
    decoding = decoder.begin(encoded, len(context) + length)
    for given in context:
        decoding(given)
    at_end = torch.tensor(ends, device=device)
    for t in range(length):
        token, drawn = choose(decoding(token), rows, t)
        if t == 0:
            kept = drawn.sampling_mask.new_zeros(size, length, drawn.sampling_mask.shape[1])
        ids[rows, t], mask[rows, t] = token.masked_fill(~alive, 0), alive
        logprobs[rows, t] = drawn.logprobs.gather(1, token.unsqueeze(1)).squeeze(1)
        kept[rows, t] = drawn.sampling_mask
        alive = alive & ~torch.isin(token, at_end) & (limits[rows] > t + 1)
        remaining = int(alive.sum())
        if not remaining:
            break
        if remaining <= LEAVE * len(rows):
            decoding.keep(alive.nonzero().squeeze(1))
            rows, token, alive = rows[alive], token[alive], alive[alive]
    return Completions(*[x[:, : t + 1].cpu() for x in (ids, mask, logprobs, kept)])


def reached_end(ids: Tensor, mask: Tensor, ends: Sequence[int]) -> Tensor:
    """True for completions [B, T] that end in one of the tokens `ends`, False for those that were cut; [B]."""
    last = mask.sum(dim=1, keepdim=True) - 1
    return torch.isin(ids.gather(1, last).squeeze(1), torch.tensor(ends))


def _limits(size: int, config: RolloutConfig, generator: torch.Generator) -> Tensor:
    """Tokens after which each completion is cut, [B]."""
    shortest = config.min_cut or config.max_new_tokens
    return torch.randint(shortest, config.max_new_tokens + 1, (size,), generator=generator, device=generator.device)


def draw(logprobs: Tensor, point: Tensor) -> Tensor:
    """One token per row by inverting the distribution function at `point` [B] in [0, 1); [B, V] -> [B].

    On a CPU twenty times as fast as torch.multinomial with T5's vocabulary.
    """
    cdf = logprobs.exp().cumsum(dim=-1, dtype=torch.double)
    at = point.unsqueeze(1) * cdf[:, -1:]
    return torch.searchsorted(cdf, at, right=True).clamp(max=cdf.shape[1] - 1).squeeze(1)
