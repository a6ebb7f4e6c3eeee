"""Reductions over masked tensors. `mask` is boolean with the shape of `x`; excluded entries never count."""

import torch
from torch import Tensor

MOST_PADDING = 32
"""Maximum padding tokens in a bucket, over all its rows."""


def masked_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over the active positions; a NaN at an inactive one is ignored."""
    return x.masked_fill(~mask, 0).sum()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over all active positions, not a mean of row means."""
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
    """Sum over each completion's tokens, [B, T] -> [B]; turns KL per token into KL per completion."""
    return x.masked_fill(~mask, 0).sum(dim=1)


def width(mask: Tensor) -> int:
    """Number of columns of a mask [B, W] up to the last one that is active in any row."""
    return int(mask.any(dim=0).nonzero().max()) + 1 if mask.any() else 0


def buckets(lengths: Tensor) -> list[Tensor]:
    """Indices of rows of similar length, longest first: a bucket is as wide as its first row, with little padding.

    On a CPU a padding token costs as much as a real one, and small batches are hardly less efficient than large ones.
    """
    order, length_of = lengths.argsort(descending=True, stable=True), lengths.tolist()
    result: list[list[int]] = []
    padding = MOST_PADDING + 1
    for row in order.tolist():
        padding += length_of[result[-1][0]] - length_of[row] if result else 0
        if padding > MOST_PADDING:
            result.append([])
            padding = 0
        result[-1].append(row)
    return [torch.tensor(rows, device=lengths.device) for rows in result]


def pad_cat(tensors: list[Tensor], least: int = 0) -> Tensor:
    """Concatenate tensors [b, w, ...] of different widths, right-padded with zeros to the widest, or to `least`."""
    widest = max(least, *(t.shape[1] for t in tensors))
    return torch.cat([_widen(t, widest) for t in tensors])


def _widen(x: Tensor, width: int) -> Tensor:
    return torch.cat([x, x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])], dim=1)
