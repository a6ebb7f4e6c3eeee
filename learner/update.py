"""An update, split into parts that one learner runs alone or several learners share.

Every part is a pure function of its arguments. Gradients of a minibatch's microbatches are summed in key order,
so that the bits do not depend on which learner computed them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from configs.algorithms import AnyAlgorithm
from learner.batch import Batch
from learner.metrics import Metrics
from learner.rewards import ScoreMoments
from learner.types import LearnerState, PolicyState, Tensors

MAX_REJECTED = 3
"""Consecutive rejected steps after which the run fails."""


class MicrobatchKey(NamedTuple):
    """Position of a microbatch in a step's update."""

    epoch: int
    minibatch: int
    microbatch: int


@dataclass(frozen=True, eq=False)
class PreparedStep:
    """Everything that stays fixed during an update."""

    version: int
    kl_coef: float
    batch: Batch  # with rewards, advantages and returns
    score_moments: ScoreMoments  # of all scores so far, this step's included
    metrics: Metrics


@dataclass(frozen=True, eq=False)
class PolicyInUpdate:
    """The policy between two minibatches, and whether the rest of the update is skipped."""

    policy: PolicyState
    failed: str = ""  # reason for rejecting the step: the loss or its gradient was not finite
    strayed: bool = False  # True once an epoch took it too far from the sampling policy

    @property
    def ended(self) -> bool:
        """True if the remaining minibatches are skipped."""
        return bool(self.failed) or self.strayed


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """State between two minibatches that only the optimizer needs, and the metrics so far."""

    moments: Tensors
    history: tuple[Metrics, ...] = ()  # of each minibatch, before its optimizer step
    epochs: int = 0  # started


@dataclass(frozen=True, eq=False)
class Gradient:
    """Gradient of one microbatch's part of the loss; empty if no rows have its key."""

    tensors: Tensors  # by parameter name
    metrics: Metrics  # this microbatch's part of the minibatch's
    failed: str = ""


def minibatch_keys(algorithm: AnyAlgorithm, batch_size: int) -> list[list[MicrobatchKey]]:
    """Keys of an update's microbatches, by minibatch; if samples were dropped, the last ones of an epoch are empty."""
    size = algorithm.minibatch_size
    counts = [len(range(start, min(start + size, batch_size))) for start in range(0, batch_size, size)]
    return [
        [MicrobatchKey(epoch, m, micro) for micro in range(-(-rows // (algorithm.microbatch_size or rows)))]
        for epoch in range(algorithm.ppo_epochs)
        for m, rows in enumerate(counts)
    ]


def run_update(
    call: Callable[..., Any],
    minibatches: Sequence[Sequence[MicrobatchKey]],
    policy: Any,
    state: Any,
    parts: Sequence[Any],
) -> Any:
    """Run one step's update through `call(method, *arguments, results=1)`, on one learner or on a pool of learners.

    Returns what `Learner.finish` does: `PolicyState`, `LearnerState` and metrics, or handles to them.
    """
    prepared, current, optimizer = call("prepare", policy, state, *parts, results=3)
    for keys in minibatches:
        gradients = [call("gradient", prepared, current, key) for key in keys]
        current, optimizer = call("apply", prepared, current, optimizer, keys[0], *gradients, results=2)
    return call("finish", policy, state, prepared, current, optimizer, results=3)


Updated = tuple[PolicyState, LearnerState, Metrics]


def reject(policy: PolicyState, state: LearnerState, metrics: Metrics, failed: str) -> Updated:
    """The next version after a step that failed: the weights stay as they are.

    Raises `FloatingPointError` for the third consecutive one.
    """
    rejected = state.rejected + 1
    if rejected == MAX_REJECTED:
        raise FloatingPointError(f"{MAX_REJECTED} steps in a row were rejected: {failed}")
    version = policy.version + 1
    metrics = metrics | {"optimizer/rejected_steps": rejected}
    return replace(policy, version=version), replace(state, version=version, rejected=rejected), metrics
