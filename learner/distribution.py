"""The distribution that tokens are drawn from: one definition for sampling, loss, ratio and KL.

A completion's sampling mask holds the tokens that could be drawn, so that the probabilities of every policy are
renormalised over the same ones (DeepSeek-AI 2025, DeepSeek-V3.2, section 3.1, "Keep Sampling Mask").
"""

import torch
from torch import Tensor

NEVER = torch.finfo(torch.float32).min
"""Logit of a token that was left out. Finite, so that its probability 0 times its log-probability is 0, not NaN."""


def sampled_logprobs(logits: Tensor, temperature: float, kept: Tensor | None = None) -> Tensor:
    """Log-probabilities of all tokens, given the policy's logits; both [..., V] in float32.

    `kept` [..., V] is True for the tokens that may be drawn, None if all may be.
    """
    if temperature != 1:  # else the same bits without a copy
        logits = logits / temperature
    return (logits if kept is None else logits.masked_fill(~kept, NEVER)).log_softmax(dim=-1)


def pack(kept: Tensor) -> Tensor:
    """A sampling mask, one bit per token of the vocabulary; boolean [..., V] -> uint8 [..., V / 8 rounded up]."""
    filled = torch.nn.functional.pad(kept.to(torch.uint8), (0, -kept.shape[-1] % 8))
    return sum(filled[..., bit::8] << bit for bit in range(1, 8)) + filled[..., 0::8]  # on a CPU faster than one sum


def unpack(sampling_mask: Tensor, vocabulary: int) -> Tensor | None:
    """The reverse of `pack`, [..., V]; None for an empty mask [..., 0], which stands for the whole vocabulary."""
    if not sampling_mask.shape[-1]:
        return None
    bits = torch.arange(8, dtype=torch.uint8, device=sampling_mask.device)
    return ((sampling_mask.unsqueeze(-1) >> bits) & 1).flatten(-2)[..., :vocabulary].bool()
