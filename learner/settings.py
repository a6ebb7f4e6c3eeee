"""Settings of what learns: the config sections and numbers that learners, fine-tuning and reward models need."""

from dataclasses import dataclass

from configs.algorithms import AnyAlgorithm
from configs.dpo import DpoConfig
from configs.policy import PolicyConfig
from configs.reward_training import RewardTrainingConfig
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


@dataclass(frozen=True)
class RewardModelSettings:
    """Everything the training of a reward model is built from."""

    model: str  # whose body is kept
    training: RewardTrainingConfig
    device: str = "cpu"
