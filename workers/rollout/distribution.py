"""The distribution that a sampling setting makes of a policy's logits, by transformers' own warpers."""

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from configs.decoding import SamplingConfig
from learner.distribution import pack, sampled_logprobs


class Drawn(NamedTuple):
    """The distributions that the next tokens are drawn from."""

    logprobs: Tensor  # [b, V]
    sampling_mask: Tensor  # [b, V / 8], bits of the tokens that may be drawn; [b, 0] if all may be


class Distribution:
    """Temperature and truncation, in the order of transformers' `generate`."""

    def __init__(self, sampling: SamplingConfig) -> None:
        self.temperature, self.truncation = sampling.temperature, LogitsProcessorList()
        if sampling.top_k is not None:
            self.truncation.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self.truncation.append(TopPLogitsWarper(sampling.top_p))
        if sampling.min_p > 0:
            self.truncation.append(MinPLogitsWarper(sampling.min_p))

    def __call__(self, logits: Tensor) -> Drawn:
        """From the policy's logits [b, V] in float32."""
        if not self.truncation:
            empty = torch.zeros(len(logits), 0, dtype=torch.uint8, device=logits.device)
            return Drawn(sampled_logprobs(logits, self.temperature), empty)
        kept = self.truncation(None, logits / self.temperature) != -torch.inf
        return Drawn(sampled_logprobs(logits, self.temperature, kept), pack(kept))
