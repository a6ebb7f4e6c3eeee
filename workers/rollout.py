"""Rollout workers: completions sampled from the policy."""

import torch
from torch import Tensor
from transformers import AutoTokenizer

from configs.schema import Config
from learner.policy import Policy
from learner.pretrained import device_of
from learner.types import PolicyState, Rollouts, WorkUnit


class RolloutWorker:
    """Hosts the policy and samples from whatever version it is handed."""

    def __init__(self, config: Config) -> None:
        self.max_new_tokens = config.rollout.max_new_tokens
        self.tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
        self.policy = Policy(config.policy, config.seed, device_of(config.cluster.resources.rollout))

    def generate(self, unit: WorkUnit, state: PolicyState) -> Rollouts:
        """One completion per prompt, sampled at temperature 1 from the whole vocabulary, as the learner takes it.

        Of a greedy unit the likeliest tokens, as people would have them.
        """
        self.policy.load(state)
        ids, mask, logprobs = sample(self.policy, unit, self.max_new_tokens, self.tokenizer.eos_token_id)
        texts = [
            self.tokenizer.decode(row[keep], skip_special_tokens=True) for row, keep in zip(ids, mask, strict=True)
        ]
        return Rollouts(unit, state.version, ids, mask, logprobs, tuple(texts))


@torch.no_grad()
def sample(policy: Policy, unit: WorkUnit, max_new_tokens: int, eos_token_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sample completions token by token, with the cache of past keys and values.

    transformers' own `generate` is not used: processors that a generation config may bring (min_length, forced tokens,
    top-k) sample from another distribution than the log-probabilities are of.

    Returns completion ids, completion mask (True through EOS) and log-probabilities, each [B, T] on the CPU.
    """
    network, device = policy.network, policy.network.device
    prompt_mask = unit.prompt_mask.to(device)
    encoded = policy.encode(unit.prompt_ids.to(device), prompt_mask)
    generator = torch.Generator(device).manual_seed(unit.seed)
    token = torch.full((len(encoded), 1), policy.start_token_id, device=device)
    alive = torch.ones(len(encoded), dtype=torch.bool, device=device)
    cache, columns = None, []
    while len(columns) < max_new_tokens and alive.any():
        out = network(
            encoder_outputs=(encoded,),
            attention_mask=prompt_mask.long(),
            decoder_input_ids=token,
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        logprobs = out.logits[:, -1].float().log_softmax(dim=-1)
        token = logprobs.argmax(dim=-1, keepdim=True) if unit.greedy else draw(logprobs, generator)
        columns.append((token, alive.unsqueeze(1), logprobs.gather(1, token)))
        alive = alive & (token.squeeze(1) != eos_token_id)
    ids, mask, chosen = (torch.cat(column, dim=1).cpu() for column in zip(*columns, strict=True))
    return ids.masked_fill(~mask, 0), mask, chosen


def draw(logprobs: Tensor, generator: torch.Generator) -> Tensor:
    """One token per row by inverting the distribution function; [B, V] -> [B, 1].

    On a CPU twenty times as fast as torch.multinomial over T5's vocabulary.
    """
    cdf = logprobs.double().exp().cumsum(dim=-1)
    point = torch.rand(len(cdf), 1, generator=generator, device=cdf.device, dtype=cdf.dtype) * cdf[:, -1:]
    return torch.searchsorted(cdf, point, right=True).clamp(max=cdf.shape[1] - 1)
