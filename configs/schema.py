"""The config of a run. It is inert: no file is read and nothing is filled in later."""

from typing import Literal

from pydantic import Field, model_validator

from configs.algorithms import PPO, AnyAlgorithm
from configs.base import Section
from configs.cluster import Checkpoints, Cluster, Workers
from configs.evaluation import Bench, Evaluation, Sft, Watch
from configs.rewards import Reward
from configs.service import Serve


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021), the only weights of the policy that are trained."""

    r: int = Field(32, ge=1)
    """Rank."""
    alpha: int = Field(32, ge=1)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Kept in the adapter's own config for supervised training; reinforcement learning runs without dropout."""
    target_modules: tuple[str, ...] = ("q", "v")
    """Names of the layers that get an adapter (T5: q, v; BART: q_proj, v_proj)."""


class Policy(Section):
    """The encoder-decoder model that is trained."""

    model: str
    """Local directory or hub name of anything that AutoModelForSeq2SeqLM loads."""
    adapter: str | None = None
    """Trained LoRA adapter to start from (PEFT directory or hub name); it is then the reference's as well."""
    adapter_bin: bool = False
    """Accept an adapter that exists as adapter_model.bin only, a format that could hold code: nothing but tensors is
    read of it. From the command line only."""
    lora: Lora = Lora()
    """Shape of a new adapter; not used where `policy.adapter` is given."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights; auto: bfloat16 where the hardware is fast at it. What is trained is float32."""


class Data(Section):
    """Dialogues and summaries."""

    path: str
    """Local directory with a csv or jsonl file per split, or the hub name of a data set."""
    prompt_column: str = "dialogue"
    """Column that the prompt is made of."""
    reference_column: str = "summary"
    """Column with the reference summary; rows with the same prompt are one prompt with several references."""
    topic_column: str = "topic"
    """Column that figures are also given by, where the data has it."""
    template: str = "Summarize the following conversation.\n\n{text}\n\nSummary:\n"
    """The prompt, {text} standing for the prompt column."""
    min_chars: int = Field(200, ge=0)
    """Shorter texts are left out."""
    max_chars: int = Field(1000, ge=1)
    """Longer texts are left out."""
    max_prompt_tokens: int = Field(512, ge=1)
    """Prompts with more tokens are left out."""
    train_split: str = "train"
    """Split that rollouts are made for."""
    validation_split: str = "validation"
    """Split that supervised fine-tuning is watched on."""
    eval_split: str = "test"
    """Held-out split that the policy is judged on."""

    @model_validator(mode="after")
    def _check(self) -> "Data":
        if "{text}" not in self.template:
            raise ValueError("data.template must contain {text}, the place of the dialogue")
        if self.min_chars > self.max_chars:
            raise ValueError(f"data.min_chars ({self.min_chars}) exceeds data.max_chars ({self.max_chars})")
        return self


class Rollout(Section):
    """Sampling of completions."""

    batch_size: int = Field(16, ge=1)
    """Completions per step."""
    unit_size: int = Field(8, ge=1)
    """Completions per unit of work; it changes the bits, the number of workers does not."""
    max_new_tokens: int = Field(72, ge=1)
    """Tokens after which a completion is cut."""
    min_cut: int | None = Field(None, ge=1)
    """Cut each completion that is learned from at a length drawn from here to max_new_tokens, as the notebook's
    LengthSampler did; null: all at max_new_tokens."""

    @model_validator(mode="after")
    def _check(self) -> "Rollout":
        if self.min_cut and self.min_cut > self.max_new_tokens:
            raise ValueError(f"rollout.min_cut ({self.min_cut}) exceeds rollout.max_new_tokens ({self.max_new_tokens})")
        return self


class Config(Section):
    """Fine-tune an encoder-decoder model by reinforcement learning on Ray."""

    policy: Policy
    """The model that is trained."""
    reward: Reward
    """The model that judges."""
    data: Data
    """The dialogues."""
    algorithm: AnyAlgorithm = PPO()
    """How the policy is updated."""
    rollout: Rollout = Rollout()
    """How completions are sampled."""
    evaluation: Evaluation = Evaluation()
    """How policies are judged."""
    watch: Watch = Watch()
    """When people are warned."""
    sft: Sft = Sft()
    """How `ray_job.py sft` fine-tunes."""
    bench: Bench = Bench()
    """What `ray_job.py bench` times."""
    serve: Serve = Serve()
    """What `ray_job.py serve` offers."""
    workers: Workers = Workers()
    """How many of each."""
    cluster: Cluster = Cluster()
    """Where they run."""
    checkpoints: Checkpoints = Checkpoints()
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

    @property
    def group_size(self) -> int:
        """Completions per prompt in a step."""
        return getattr(self.algorithm, "group_size", 1)

    @model_validator(mode="after")
    def _check(self) -> "Config":
        for field in ("batch_size", "unit_size"):
            if (size := getattr(self.rollout, field)) % self.group_size:
                raise ValueError(
                    f"rollout.{field} ({size}) must be a multiple of algorithm.group_size ({self.group_size}): "
                    f"a group is never split"
                )
        algorithm = self.algorithm
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
