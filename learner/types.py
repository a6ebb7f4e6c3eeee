"""The data of each stage, in pipeline order. Read this first.

Each value is complete when created and never changed. B sequences, S prompt tokens, T completion tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs.decoding import AnyDecoding
from learner.rewards import ScoreMoments

Tensors = dict[str, Tensor]


class Forward(NamedTuple):
    """One teacher-forced pass."""

    logprobs: Tensor  # [B, T], log p of each completion token
    full: Tensor  # [B, T, V], float32, log p of every token
    values: Tensor  # [B, T], of the state in which each token is chosen


@dataclass(frozen=True, eq=False)
class WorkUnit:
    """Prompts that are always processed together, with their sampling seed.

    Determined by the run's seed and the step alone: its contents and padded width decide the bits of all results.
    Example: step 3, index 1, rows (17, 4, ...), eight prompts padded on the right to 112 tokens.
    """

    step: int
    index: int
    seed: int
    rows: tuple[int, ...]  # positions in the prompt set, one per sequence
    groups: tuple[str, ...]  # group name of each sequence
    prompts: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    columns: tuple[Mapping[str, Any], ...]  # all columns of the data for each sequence's prompt, plain values
    prompt_ids: Tensor  # [B, S]
    prompt_mask: Tensor  # [B, S], True where there is a token
    decoder_prefix: Tensor  # [B, C], what the decoder reads before the completion; C = 0: as the model's config says
    decoding: AnyDecoding | None = None  # how the completion is found; None: it is sampled

    @property
    def key(self) -> tuple[int, int]:
        """Position of the unit in the run: (step, index)."""
        return self.step, self.index

    @property
    def name(self) -> str:
        """Description for messages: its position and where its prompts are in the data."""
        return f"unit {self.index} of step {self.step} (rows {', '.join(map(str, self.rows))})"


@dataclass(frozen=True, eq=False)
class PolicyState:
    """Everything a worker adds to the frozen weights to become the policy.

    `version` counts completed updates: version k is used in step k, which yields k + 1 (with run_ahead, in step k + 1).
    """

    version: int
    adapter: Tensors  # LoRA tensors under the names peft saves them by
    value_head: Tensors  # weight [1, d_model], bias [1]


@dataclass(frozen=True, eq=False)
class LearnerState:
    """State between two updates that only the learner needs."""

    version: int
    moments: Tensors  # Adam's state, "<parameter>/<moment>"
    kl_coef: float
    score_moments: ScoreMoments
    rejected: int  # consecutive steps rejected so far because their loss was not finite


@dataclass(frozen=True, eq=False)
class TrainState:
    """Everything a run carries from one step to the next."""

    policy: PolicyState
    learner: LearnerState
    sampler: PolicyState  # samples for the next step: `policy`, or with run_ahead the one before it
    reward: int = 0  # version of the reward that scored the last step

    @property
    def version(self) -> int:
        """Completed steps."""
        return self.policy.version


@dataclass(frozen=True, eq=False)
class Rollouts:
    """One unit's completions, sampled by one version of the policy."""

    unit: WorkUnit
    version: int
    completion_ids: Tensor  # [B, T], padded on the right
    completion_mask: Tensor  # [B, T], True through EOS
    logprobs: Tensor  # [B, T], as recorded while decoding
    sampling_mask: Tensor  # [B, T, V / 8], bits of the tokens that could be drawn; [B, T, 0] if all could
    ended: Tensor  # [B], False for a completion that was cut
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OldPass:
    """The sampling policy's teacher-forced pass over its own completions, the starting point of the update.

    Computed by the worker that sampled them, which has already encoded the prompts.
    """

    key: tuple[int, int]
    logprobs: Tensor  # [B, T], of the chosen tokens
    values: Tensor  # [B, T], from the value head
    full: Tensor  # [B, T, V], log-probabilities of all tokens, if kl_estimator is full; else [B, T, 0]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one unit's completions."""

    key: tuple[int, int]
    scores: Tensor  # [B], the parts combined by reward.combine; NaN for dropped samples
    parts: Tensors  # [B] each, raw scores by name; NaN where a part failed
    dropped: Tensor  # [B], True where a part failed whose on_failure is drop, or all were skipped
    watched: Tensors = field(default_factory=dict)  # [B] each, measures that are watched but not rewarded
    version: int = 0  # of the reward
    before: Tensor = field(default_factory=lambda: torch.zeros(0))  # [B] by the version before; [0] if not asked for


@dataclass(frozen=True, eq=False)
class RefLogprobs:
    """The reference's log-probabilities of one unit's completions."""

    key: tuple[int, int]
    logprobs: Tensor  # [B, T], of the chosen tokens
    full: Tensor  # [B, T, V], of all tokens, if kl_estimator is full; else [B, T, 0]


@dataclass(frozen=True, eq=False)
class Experience:
    """One unit's rollouts with their scores and reference log-probabilities, checked to belong together."""

    rollouts: Rollouts
    old: OldPass
    scores: Scores
    reference: RefLogprobs

    @classmethod
    def join(
        cls, rollouts: Rollouts, old: OldPass, scores: Scores, reference: RefLogprobs, versions: range
    ) -> "Experience":
        """Join the workers' results for one unit; `versions` are the policy versions that may have sampled it.

        Raises `ValueError` if units, versions or shapes do not match, or if a number that counts is not finite.
        """
        unit, mask = rollouts.unit, rollouts.completion_mask
        where = f"unit {unit.index} of step {unit.step}"
        if not unit.key == old.key == scores.key == reference.key:
            raise ValueError(
                f"{where}: joined with the pass of {old.key}, scores of {scores.key}, reference of {reference.key}"
            )
        if rollouts.version not in versions:
            raise ValueError(f"{where}: sampled by policy version {rollouts.version}, the learner is at {versions[-1]}")
        if scores.scores.shape != (len(unit.rows),) or not reference.logprobs.shape == old.logprobs.shape == mask.shape:
            raise ValueError(
                f"{where}: {len(unit.rows)} rows, {tuple(scores.scores.shape)} scores, "
                f"{tuple(reference.logprobs.shape)} reference log-probabilities, {tuple(old.logprobs.shape)} old ones "
                f"for {tuple(mask.shape)} tokens"
            )
        for name, numbers in [
            ("score", scores.scores[~scores.dropped]),
            ("reference log-probability", reference.logprobs[mask]),
            ("rollout log-probability", rollouts.logprobs[mask]),
            ("old log-probability", old.logprobs[mask]),
            ("value", old.values[mask]),
        ]:
            if not numbers.isfinite().all():
                raise ValueError(f"{where}: a {name} is not finite")
        return cls(rollouts, old, scores, reference)
