"""Settings of the learners and of supervised fine-tuning: the config sections and numbers that each needs."""

from dataclasses import dataclass

from configs.algorithms import AnyAlgorithm
from configs.dpo import DpoConfig
from configs.policy import PolicyConfig
from configs.sft import SftConfig


@dataclass(frozen=True)
class LearnerSettings:
    """Everything a learner worker is built from."""

    policy: PolicyConfig
    algorithm: AnyAlgorithm
    batch_size: int  # completions per step
    max_new_tokens: int
    seed: int
    run_ahead: int = 0  # updates that the sampling policy may lag behind
    temperature: float = 1.0
    device: str = "cpu"


@dataclass(frozen=True)
class PreferenceSettings:
    """Everything a learner of preferences is built from."""

    policy: PolicyConfig
    dpo: DpoConfig
    steps: int
    seed: int
    temperature: float = 1.0
    device: str = "cpu"


@dataclass(frozen=True)
class SftSettings:
    """Everything supervised fine-tuning is built from."""

    policy: PolicyConfig
    sft: SftConfig
    max_new_tokens: int  # of the summaries generated for validation
    eval_batch_size: int
    seed: int
    device: str = "cpu"
