"""Pairs to learn from and pairs to measure by: no prompt is on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs.errors import UsageError
from learner.preferences.pairs import Preference
from learner.seeds import seed_from

LEAST = 8
"""Pairs, not counting ties, that a reward model is learnt from at least; a quarter of these measures it."""


@dataclass(frozen=True)
class Split:
    """The two sides."""

    train: tuple[Preference, ...]
    held_out: tuple[Preference, ...]
    same: int = 0  # pairs of one text twice, which are left out
    shared: int = 0  # pairs left out of training because their prompts are held out


def split(pairs: Sequence[Preference], held_out: Sequence[Preference] | None, share: float, seed: int) -> Split:
    """The pairs on two sides: those that were `held_out`, if given, else a share of the prompts by seed.

    Raises `UsageError` if a side has too few pairs, or none that is not a tie.
    """
    differ = _different(pairs)
    if held_out is None:
        _check_prompts(differ, share)
        measured = set(_shuffled(differ, seed, "held out")[: _number(differ, share)])
        test = tuple(pair for pair in differ if pair.prompt in measured)
        same, shared = len(pairs) - len(differ), 0
    else:
        test = _different(held_out)
        measured = {pair.prompt for pair in test}
        same = len(pairs) - len(differ) + len(held_out) - len(test)
        shared = sum(pair.prompt in measured for pair in differ)
    train = tuple(pair for pair in differ if pair.prompt not in measured)
    found = Split(train, test, same, shared)
    _check_sizes(found)
    return found


def _different(pairs: Sequence[Preference]) -> tuple[Preference, ...]:
    return tuple(pair for pair in pairs if pair.chosen.strip() != pair.rejected.strip())


def _check_prompts(pairs: Sequence[Preference], share: float) -> None:
    """Raises `UsageError` if there is only one prompt."""
    if len({pair.prompt for pair in pairs}) == 1:
        raise UsageError(
            f"reward_training.pairs: all {len(pairs)} pairs have one prompt, which cannot be both learnt from and held "
            f"out; add pairs of other prompts, or name other pairs by reward_training.held_out_pairs"
        )


def _check_sizes(found: Split) -> None:
    """Raises `UsageError` if there is too little to learn from, or to measure by."""
    pairs = [*found.train, *found.held_out]
    if pairs and all(pair.tie for pair in pairs):
        raise UsageError(f"reward_training.pairs: all {len(pairs)} pairs are ties: no preference can be learnt")
    problems = []
    for purpose, side, least in (("learn from", found.train, LEAST), ("hold out", found.held_out, LEAST // 4)):
        if (count := sum(not pair.tie for pair in side)) < least:
            left_out = f" ({found.shared} more have prompts that are held out)" if found.shared else ""
            problems.append(
                f"reward_training.pairs: {count} pairs to {purpose} that are no ties{left_out}, at least {least} are "
                f"needed; add pairs"
            )
    if problems:
        raise UsageError(*problems)


def _number(pairs: Sequence[Preference], share: float) -> int:
    prompts = len({pair.prompt for pair in pairs})
    return min(max(1, round(share * prompts)), prompts - 1)


def _shuffled(pairs: Sequence[Preference], seed: int, purpose: str) -> list[str]:
    """The prompts in an order that depends on the seed and on each prompt alone, not on the order of the file."""
    return sorted({pair.prompt for pair in pairs}, key=lambda prompt: seed_from(seed, purpose, prompt))


def part(pairs: Sequence[Preference], share: float, seed: int) -> list[Preference]:
    """The pairs of a share of the prompts; a larger share contains a smaller one."""
    order = _shuffled(pairs, seed, "learning curve")
    kept = set(order[: max(1, round(share * len(order)))])
    return [pair for pair in pairs if pair.prompt in kept]


def resampled(pairs: Sequence[Preference], seed: int) -> list[Preference]:
    """A bootstrap sample of the pairs (Efron 1979)."""
    return [pairs[i] for i in np.random.default_rng(seed).integers(len(pairs), size=len(pairs))]
