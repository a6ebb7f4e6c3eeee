"""The config of a run. It is inert: no file is read and nothing is filled in later."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.algorithms import PPO, AnyAlgorithm
from configs.base import Section


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
    lora: Lora = Lora()
    """Shape of a new adapter; not used where `policy.adapter` is given."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights; auto: bfloat16 where the hardware is fast at it. What is trained is float32."""


class Probe(Section):
    """Two texts whose order the reward must get right before a run may start."""

    better: str = "Thank you so much, you have been very kind and helpful."
    """Must get the higher score."""
    worse: str = "You are a stupid, worthless idiot and everybody hates you."
    """Must get the lower score."""


class Extra(Section):
    """What every further reward has."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Its name in metrics, apart from that of every other."""
    weight: float = 1.0
    """Its share of the score: the scores are added up by weight."""


class LengthReward(Extra):
    """Minus the distance of the summary's length from a target, as a share of the target."""

    type: Literal["length"] = "length"
    words: int = Field(ge=1)
    """Target."""


class RougeReward(Extra):
    """ROUGE F-measure against the reference summary, 0 to 1; of several references the best one counts."""

    type: Literal["rouge"] = "rouge"
    variant: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"] = "rougeL"
    """Which."""


class FunctionReward(Extra):
    """A Python function of yours, (prompts, completions, references) -> scores, one per completion."""

    type: Literal["function"] = "function"
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    """Where it is, as module:name. From the command line only: a config file must not be able to run code."""


AnyExtra = Annotated[LengthReward | RougeReward | FunctionReward, Field(discriminator="type")]


class Reward(Section):
    """The sequence classifier whose logit is the reward, and rewards beside it."""

    model: str
    """Local directory or hub name of anything that AutoModelForSequenceClassification loads."""
    label: str
    """Name of the label whose raw logit is the reward, as in the model's id2label."""
    text: Literal["completion", "prompt+completion"] = "completion"
    """What is scored. prompt+completion is truncated from the prompt's side."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights; auto: bfloat16 where the hardware is fast at it."""
    weight: float = 1.0
    """The classifier's share of the score, where there are further rewards."""
    extra: tuple[AnyExtra, ...] = ()
    """Further rewards."""
    on_failure: Literal["error", "drop"] = "error"
    """Where a reward raises, or gives no finite number: end the run, or leave the sample out and count it."""
    probe: Probe | None = Probe()
    """Checked at the start of every run; null: not checked."""

    @model_validator(mode="after")
    def _check(self) -> "Reward":
        names = [extra.name for extra in self.extra]
        if len(set(names)) < len(names) or "classifier" in names:
            raise ValueError("reward.extra: names must differ from each other and from 'classifier'")
        return self


class Data(Section):
    """Dialogues and summaries."""

    path: str
    """Local directory with a csv or jsonl file per split, or the hub name of a data set."""
    prompt_column: str = "dialogue"
    """Column that the prompt is made of."""
    reference_column: str = "summary"
    """Column with the reference summary; rows with the same prompt are one prompt with several references."""
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


class Evaluation(Section):
    """How the policy is judged before and after."""

    rows: int = Field(300, ge=2)
    """Held-out prompts."""
    samples: int = Field(8, ge=1)
    """Summaries sampled for each of them, with the same seeds before and after."""
    unit_size: int = Field(50, ge=1)
    """Prompts per unit of work."""
    seed: int = 1
    """Seed of the samples, apart from the run's."""


class Workers(Section):
    """Workers per role; the learner is one."""

    rollout: int = Field(2, ge=1)
    """Workers that sample completions."""
    reward: int = Field(2, ge=1)
    """Replicas of the reward model."""
    reference: int = Field(1, ge=1)
    """Workers with the frozen reference."""


class Resources(Section):
    """What Ray sets aside for each worker of a role."""

    cpus: float = Field(0.25, ge=0)
    """CPUs, or a fraction of one."""
    gpus: float = Field(0, ge=0)
    """GPUs, or a fraction of one."""


class RoleResources(Section):
    """Resources per role."""

    rollout: Resources = Resources()
    """Of each rollout worker."""
    reward: Resources = Resources()
    """Of each reward worker."""
    reference: Resources = Resources()
    """Of each reference worker."""
    learner: Resources = Resources()
    """Of the learner."""

    @model_validator(mode="after")
    def _check(self) -> "RoleResources":
        on_gpu = {role: bool(getattr(self, role).gpus) for role in ("rollout", "reference", "learner")}
        if len(set(on_gpu.values())) > 1:
            raise ValueError("rollout, reference and learner must all have GPUs or none, to compute the same numbers")
        return self


class Cluster(Section):
    """Where the workers run."""

    backend: Literal["ray", "inline"] = "ray"
    """ray: each worker is a Ray actor; inline: everything in this process, with the same result to the bit."""
    address: str | None = None
    """Ray address; null: RAY_ADDRESS or a running local head if there is one, else a Ray of its own."""
    threads: int = Field(1, ge=1)
    """Torch threads per worker; it changes the bits."""
    resources: RoleResources = RoleResources()
    """What Ray sets aside per worker."""
    start_timeout: float = Field(300, gt=0)
    """Seconds that workers may take to load their models."""
    call_timeout: float = Field(3600, gt=0)
    """Seconds that one step may take."""


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
    """How the policy is judged."""
    workers: Workers = Workers()
    """How many of each."""
    cluster: Cluster = Cluster()
    """Where they run."""
    steps: int = Field(100, ge=1)
    """Rollout-and-update rounds."""
    seed: int = Field(0, ge=0)
    """Everything random in training follows from it."""
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
        if self.algorithm.minibatch_size > self.rollout.batch_size:
            raise ValueError(
                f"algorithm.minibatch_size ({self.algorithm.minibatch_size}) exceeds "
                f"rollout.batch_size ({self.rollout.batch_size}): lower the first or raise the second"
            )
        return self
