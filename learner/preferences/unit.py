"""What learning from preferences works on: examples as tensors, and what a pass over them measures."""

from dataclasses import dataclass

from torch import Tensor

HELD_OUT = -1
"""Step of the units of held-out examples."""


@dataclass(frozen=True)
class Batch:
    """The batch that a unit is a part of, by which sums over units become means."""

    examples: int
    tokens: int  # of all first completions


@dataclass(frozen=True, eq=False)
class PreferenceUnit:
    """Examples that are always processed together: B prompts with two completions each.

    The first completion is the chosen one, or the one with a thumb; the second is the rejected one, or with thumbs that
    of another prompt. Contents and padded widths decide the bits of all results.
    """

    step: int
    index: int
    rows: tuple[int, ...]  # positions of the examples
    prompt_ids: Tensor  # [B, S]
    prompt_mask: Tensor  # [B, S]
    decoder_prefix: Tensor  # [B, C], as in `WorkUnit`
    completion_ids: Tensor  # [2B, T], both completions of each prompt in turn, ending in EOS
    completion_mask: Tensor  # [2B, T]
    targets: Tensor  # [B], 1 where the first is preferred or its thumb is up; 0.5 for a tie; 0 for a thumb down
    batch: Batch

    @property
    def lengths(self) -> Tensor:
        """Tokens of each completion, [B, 2]."""
        return self.completion_mask.sum(dim=1).view(-1, 2)

    @property
    def name(self) -> str:
        """Description for messages."""
        where = "the held-out ones" if self.step == HELD_OUT else f"step {self.step}"
        return f"pairs {self.index} of {where} (rows {', '.join(map(str, self.rows))})"


@dataclass(frozen=True, eq=False)
class Measured:
    """A unit's examples, as the policy and its loss see them; on the CPU, without gradients."""

    losses: Tensor  # [B]
    rewards: Tensor  # [B, 2], implicit rewards of the two completions
    logprobs: Tensor  # [B, 2], sums over tokens
    reference: Tensor  # [B, 2], the same of the reference; zeros without one
    targets: Tensor  # [B], as in the unit
    lengths: Tensor  # [B, 2]
    divergence: float = 0.0  # KTO's estimate
