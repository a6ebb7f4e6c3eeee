"""One file per algorithm: how rewards become advantages.

Each has an `Estimator`: advantages and returns [B, T] (zero without a value head) of a batch with rewards.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from learner.algorithms import grouped_ppo, grpo, ppo, reinforce_pp, rloo
from learner.batch import Batch

Estimator = Callable[[Batch, Any], tuple[Tensor, Tensor]]

ESTIMATORS: dict[str, Estimator] = {
    "ppo": ppo.estimate,
    "grouped_ppo": grouped_ppo.estimate,
    "grpo": grpo.estimate,
    "rloo": rloo.estimate,
    "reinforce_pp": reinforce_pp.estimate,
}
