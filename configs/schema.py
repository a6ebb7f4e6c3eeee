"""The config of a run. Values only: it reads no file, and nothing is filled in later."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from configs.algorithms import PPO, AnyAlgorithm
from configs.base import Section
from configs.bench import BenchConfig
from configs.cluster import CheckpointsConfig, ClusterConfig, WorkersConfig
from configs.data import DataConfig
from configs.dpo import DpoConfig
from configs.evaluation import EvaluationConfig, WatchConfig
from configs.policy import PolicyConfig
from configs.reward_training import RewardTrainingConfig
from configs.rewards import RewardConfig
from configs.rollout import RolloutConfig
from configs.service import ServeConfig
from configs.sft import SftConfig


class Config(Section):
    """Fine-tune an encoder-decoder model by reinforcement learning on Ray."""

    policy: PolicyConfig
    """The model to train."""
    reward: RewardConfig
    """What completions are rewarded for."""
    data: DataConfig
    """The data set."""
    algorithm: AnyAlgorithm = PPO()
    """How the policy is updated."""
    rollout: RolloutConfig = RolloutConfig()
    """How completions are sampled."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How policies are evaluated."""
    watch: WatchConfig = WatchConfig()
    """When to warn of reward hacking."""
    sft: SftConfig = SftConfig()
    """Supervised fine-tuning by `ray_job.py sft`."""
    reward_training: RewardTrainingConfig = RewardTrainingConfig()
    """A reward model learnt from preferences by `ray_job.py train-reward`."""
    dpo: DpoConfig = DpoConfig()
    """Learning from preferences by `ray_job.py dpo`."""
    bench: BenchConfig = BenchConfig()
    """What `ray_job.py bench` measures."""
    serve: ServeConfig = ServeConfig()
    """The service started by `ray_job.py serve`."""
    workers: WorkersConfig = WorkersConfig()
    """Number of workers per role."""
    cluster: ClusterConfig = ClusterConfig()
    """Where the workers run."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """Checkpoints, from which a run can be resumed."""
    run_ahead: int = Field(0, ge=0, le=1)
    """1: sample the next step's rollouts with the weights from before this step's update, while it runs. Faster if
    there are machines for both; the update's probability ratios are relative to the policy that sampled."""
    steps: int = Field(100, ge=1)
    """Number of steps, each of rollouts and an update."""
    seed: int = Field(0, ge=0)
    """Seed of all randomness in training."""
    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = ()
    """Experiment trackers besides TensorBoard; each needs its package."""
    out: str | None = None
    """Run folder; null: a new one under runs/."""

    def _parts_that_read_references(self) -> Iterator[str]:
        for field, parts in (("reward.parts", self.reward.parts), ("evaluation.metrics", self.evaluation.metrics)):
            yield from (f"{field}.{name}" for name, part in parts.items() if part.reads_references)

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
                f"workers.learner ({self.workers.learner}): learners share the microbatches of a minibatch, but there "
                f"is only one: set algorithm.microbatch_size below minibatch_size ({algorithm.minibatch_size})"
            )
        if self.data.reference_column is None and (reading := list(self._parts_that_read_references())):
            raise ValueError(
                f"data.reference_column: null means that the data have no references, which {', '.join(reading)} "
                f"read; name their column, or leave these out by setting each to null"
            )
        if self.algorithm.minibatch_size > self.rollout.batch_size:
            raise ValueError(
                f"algorithm.minibatch_size ({self.algorithm.minibatch_size}) exceeds "
                f"rollout.batch_size ({self.rollout.batch_size}): lower the first or raise the second"
            )
        return self
