"""An update on its way: what is handed from one of its minibatches to the next, and in what order.

Every part of it is a function, so that the gradients of a minibatch may be computed by any number of learner workers:
they are added up in the order of their places, and the bits do not depend on who computed them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from configs.schema import Config
from learner.batch import Batch
from learner.objective import Metrics
from learner.rewards import ScoreMoments
from learner.types import LearnerState, PolicyState, Tensors


class Place(NamedTuple):
    """Where a microbatch stands in a step's update."""

    epoch: int
    minibatch: int
    microbatch: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """What stays the same from an update's first minibatch to its last."""

    version: int
    kl_coef: float
    batch: Batch  # with rewards, advantages and returns
    score_moments: ScoreMoments  # of all scores up to here
    metrics: Metrics


@dataclass(frozen=True, eq=False)
class Weights:
    """The policy within an update, and why it is not to be changed any further, if so."""

    policy: PolicyState
    failed: str = ""  # the loss or its gradient was not finite
    strayed: bool = False  # an epoch took it too far from the sampling policy

    @property
    def ended(self) -> bool:
        """Whether the minibatches that are left are passed over."""
        return bool(self.failed) or self.strayed


@dataclass(frozen=True, eq=False)
class Progress:
    """What only the optimizer needs from one minibatch to the next, and what was seen so far."""

    moments: Tensors
    history: tuple[Metrics, ...] = ()  # of each minibatch, as of before its update
    epochs: int = 0  # that were begun


@dataclass(frozen=True, eq=False)
class Gradient:
    """Of one microbatch's part of the loss. Empty where there is nothing to do at its place."""

    tensors: Tensors  # by the parameter's name
    metrics: Metrics  # parts of the minibatch's
    failed: str = ""


def minibatches(config: Config) -> list[list[Place]]:
    """The places of an update, by minibatch; where samples were dropped, the last of an epoch stay empty."""
    algorithm, size = config.algorithm, config.rollout.batch_size
    counts = [
        len(range(at, min(at + algorithm.minibatch_size, size))) for at in range(0, size, algorithm.minibatch_size)
    ]
    return [
        [Place(epoch, m, micro) for micro in range(-(-rows // (algorithm.microbatch_size or rows)))]
        for epoch in range(algorithm.ppo_epochs)
        for m, rows in enumerate(counts)
    ]


def update(call: Callable[..., Any], config: Config, policy: Any, state: Any, parts: Sequence[Any]) -> Any:
    """One step's update by `call(method, *arguments, results=1)`, of a learner here or of a pool of learners.

    Returns what `finish` does: `PolicyState`, `LearnerState` and metrics, or handles of them.
    """
    prepared, weights, progress = call("prepare", policy, state, *parts, results=3)
    for places in minibatches(config):
        gradients = [call("gradient", prepared, weights, place) for place in places]
        weights, progress = call("apply", prepared, weights, progress, places[0], *gradients, results=2)
    return call("finish", policy, state, prepared, weights, progress, results=3)


Updated = tuple[PolicyState, LearnerState, Metrics]
