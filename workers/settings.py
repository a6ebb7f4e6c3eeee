"""Settings of each kind of worker: the config sections and numbers that it needs, and no more."""

from dataclasses import dataclass

from configs.decoding import SamplingConfig
from configs.evaluation import AnyJudge
from configs.policy import PolicyConfig
from configs.rewards import RewardConfig
from configs.rollout import RolloutConfig
from workers.data.languages import UNSAID, Languages


@dataclass(frozen=True)
class RolloutSettings:
    """Everything a rollout worker is built from."""

    policy: PolicyConfig
    rollout: RolloutConfig
    seed: int
    full_logprobs: bool = False  # send the log-probabilities of all tokens to the learner, not only of the chosen ones
    device: str = "cpu"


@dataclass(frozen=True)
class ReferenceSettings:
    """Everything a reference worker is built from."""

    policy: PolicyConfig
    seed: int
    full_logprobs: bool = False
    device: str = "cpu"
    temperature: float = 1.0


@dataclass(frozen=True)
class RewardSettings:
    """Everything a reward worker is built from."""

    reward: RewardConfig
    second_judge: AnyJudge | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class SummaryFormat:
    """The prompt made of a dialogue, the lengths in tokens, how seeded summaries are drawn, and how all begin."""

    template: str  # of the prompt; {text} is replaced by the dialogue
    max_prompt_tokens: int
    max_new_tokens: int
    sampling: SamplingConfig
    languages: Languages = UNSAID
    target_prefix: str = ""


@dataclass(frozen=True)
class SummarizerSettings:
    """Everything the service's policy replicas are built from."""

    policy: PolicyConfig
    format: SummaryFormat  # of requests that have none of their own
    seed: int
    device: str = "cpu"


@dataclass(frozen=True)
class ScorerSettings:
    """Everything the service's reward replicas are built from."""

    reward: RewardConfig
    device: str = "cpu"
