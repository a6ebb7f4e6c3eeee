"""What a reward model is trained on: pairs in tokens, and the models to train of them, one after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.reward_training import RewardTrainingConfig

TRAININGS, MODEL, MADE = "trainings", "model", "made.json"
"""Folder of all trainings, until the result is written; and what each writes into its own: a directory that
transformers loads, and its facts, last."""
LOGS = "logs"
"""Folder of the trainings' logs."""


@dataclass(frozen=True)
class EncodedPair:
    """A pair as the model reads it."""

    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]
    target: float = 1.0  # probability that `chosen` is preferred: 1, or 1/2 for a tie
    margin: float = 0.0


@dataclass(frozen=True)
class Training:
    """One of the models to train."""

    name: str  # also of its folder
    pairs: Sequence[EncodedPair]
    seed: int  # of the new layers and of the order of pairs
    before: int = 0  # updates of the trainings before it
    of_all: int = 0  # updates of all trainings

    def folder(self, root: Path) -> Path:
        """Where it writes its checkpoints and its model."""
        return root / TRAININGS / self.name

    def log(self, root: Path) -> Path:
        """Where it writes its losses and evaluations."""
        return root / LOGS / f"{self.name}.jsonl"


def total_steps(config: RewardTrainingConfig, pairs: int) -> int:
    """Number of updates for so many pairs."""
    per_worker = config.batch_size // config.workers
    return math.ceil(config.epochs * math.ceil(math.ceil(pairs / config.workers) / per_worker))
