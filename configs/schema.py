"""The config of a run. It is inert: no file is read and nothing is filled in later."""

from typing import Literal

from pydantic import Field, model_validator

from configs.algorithms import PPO, AnyAlgorithm
from configs.base import Section
from configs.bench import BenchConfig
from configs.cluster import CheckpointsConfig, ClusterConfig, WorkersConfig
from configs.data import DataConfig
from configs.evaluation import EvaluationConfig, WatchConfig
from configs.policy import PolicyConfig
from configs.rewards import RewardConfig
from configs.rollout import RolloutConfig
from configs.service import ServeConfig
from configs.sft import SftConfig


class Config(Section):
    """Fine-tune an encoder-decoder model by reinforcement learning on Ray."""

    policy: PolicyConfig
    """The model that is trained."""
    reward: RewardConfig
    """The model that judges."""
    data: DataConfig
    """The dialogues."""
    algorithm: AnyAlgorithm = PPO()
    """How the policy is updated."""
    rollout: RolloutConfig = RolloutConfig()
    """How completions are sampled."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How policies are judged."""
    watch: WatchConfig = WatchConfig()
    """When people are warned."""
    sft: SftConfig = SftConfig()
    """How `ray_job.py sft` fine-tunes."""
    bench: BenchConfig = BenchConfig()
    """What `ray_job.py bench` times."""
    serve: ServeConfig = ServeConfig()
    """What `ray_job.py serve` offers."""
    workers: WorkersConfig = WorkersConfig()
    """How many of each."""
    cluster: ClusterConfig = ClusterConfig()
    """Where they run."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """What is kept so that a run can be resumed."""
    run_ahead: int = Field(0, ge=0, le=1)
    """1: the next step's rollouts are made with the weights before this step's update, while that is under way. Faster
    where there are machines for both; the update is corrected by the old log-probabilities, which are the sampler's."""
    steps: int = Field(100, ge=1)
    """Rollout-and-update rounds."""
    seed: int = Field(0, ge=0)
    """Everything random in training follows from it."""
    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = ()
    """Where metrics go besides TensorBoard; each needs its package."""
    out: str | None = None
    """Folder of the run; null: a new one under runs/."""

    @model_validator(mode="after")
    def _check(self) -> "Config":
        algorithm = self.algorithm
        for field in ("batch_size", "unit_size"):
            if (size := getattr(self.rollout, field)) % algorithm.completions_per_prompt:
                raise ValueError(
                    f"rollout.{field} ({size}) must be a multiple of algorithm.group_size "
                    f"({algorithm.completions_per_prompt}): a group is never split"
                )
        shared = (algorithm.microbatch_size or algorithm.minibatch_size) < algorithm.minibatch_size
        if self.workers.learner > 1 and not shared:
            raise ValueError(
                f"workers.learner ({self.workers.learner}): learners share out the microbatches of a minibatch, which "
                f"here is one: set algorithm.microbatch_size below minibatch_size ({algorithm.minibatch_size})"
            )
        if self.algorithm.minibatch_size > self.rollout.batch_size:
            raise ValueError(
                f"algorithm.minibatch_size ({self.algorithm.minibatch_size}) exceeds "
                f"rollout.batch_size ({self.rollout.batch_size}): lower the first or raise the second"
            )
        return self
