"""Reductions over masked tensors. `mask` is boolean and of the shape of `x`; what it excludes never counts."""

import torch
from torch import Tensor


def masked_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over the active positions; a NaN at an inactive one does no harm."""
    return x.masked_fill(~mask, 0).sum()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """One mean over all active positions, not a mean of row means."""
    return masked_sum(x, mask) / mask.sum()


def masked_var(x: Tensor, mask: Tensor) -> Tensor:
    """Unbiased variance over the active positions; 0 where there is only one."""
    squares = masked_sum((x - masked_mean(x, mask)) ** 2, mask)
    return squares / (mask.sum() - 1).clamp(min=1)


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale the active positions to mean 0 and variance 1; inactive ones become 0."""
    whitened = (x - masked_mean(x, mask)) * torch.rsqrt(masked_var(x, mask) + 1e-8)
    return whitened.masked_fill(~mask, 0)


def sequence_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over each completion's tokens, [B, T] -> [B]; of KL per token, the KL per completion."""
    return x.masked_fill(~mask, 0).sum(dim=1)


def pad_cat(tensors: list[Tensor]) -> Tensor:
    """Stack tensors [b, w, ...] of different widths, padded on the right with zeros to the widest."""
    width = max(t.shape[1] for t in tensors)
    return torch.cat([_widen(t, width) for t in tensors])


def _widen(x: Tensor, width: int) -> Tensor:
    return torch.cat([x, x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])], dim=1)
