"""The algorithms' settings, as unions tagged by `type`. Defaults of PPO are those of trl 0.11.3, the notebook's."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section
from configs.grouping import ByColumn, GroupBy


class FixedKL(Section):
    """A KL penalty of constant weight."""

    type: Literal["fixed"] = "fixed"
    coef: float = Field(0.2, ge=0)
    """Weight of the KL penalty."""


class AdaptiveKL(Section):
    """A KL penalty whose weight follows a target (Ziegler et al. 2019, section 2.2)."""

    type: Literal["adaptive"] = "adaptive"
    coef: float = Field(0.2, ge=0)
    """Weight of the KL penalty in the first step."""
    target: float = Field(6.0, gt=0)
    """KL per completion, in nats, that the weight is steered to."""
    horizon: float = Field(10_000, gt=0)
    """Completions over which the weight may change by the factor e."""


KL = Annotated[FixedKL | AdaptiveKL, Field(discriminator="type")]
KLEstimator = Literal["k1", "k2", "k3", "abs", "full"]


class ScoreScaling(Section):
    """What becomes of raw scores before they are rewards."""

    divide_by_std: bool = False
    """Divide by the running standard deviation of all scores so far, as trl did (use_score_scaling), which
    counts as no less than a tenth of the size of their mean."""
    subtract_mean: bool = False
    """Subtract their running mean first; only together with divide_by_std."""
    clip: float | None = Field(None, gt=0)
    """Then bound to [-clip, clip]; null: not."""

    @model_validator(mode="after")
    def _check(self) -> "ScoreScaling":
        if self.subtract_mean and not self.divide_by_std:
            raise ValueError("subtract_mean does nothing without divide_by_std: set both or none")
        return self


class Algorithm(Section):
    """What every algorithm has."""

    learning_rate: float = Field(1.41e-5, gt=0)
    """Adam's learning rate, for LoRA tensors and value head."""
    ppo_epochs: int = Field(4, ge=1)
    """Passes over one step's rollouts."""
    minibatch_size: int = Field(4, ge=1)
    """Completions per optimizer step."""
    microbatch_size: int | None = Field(None, ge=1)
    """Completions per forward and backward pass (bounds memory, leaves the gradient alone); null: a whole minibatch."""
    clip_range: float = Field(0.2, gt=0)
    """Bound on the change of a token's probability ratio that is still rewarded."""
    clip_range_high: float | None = Field(None, gt=0)
    """Another bound on its growth (clip-higher, Yu et al. 2025, section 3.1); null: clip_range."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of the entropy bonus."""
    target_kl: float | None = Field(None, gt=0)
    """Take no further epoch once the KL from the sampling policy passes 1.5 times this; null: take them all."""
    max_grad_norm: float | None = Field(None, gt=0)
    """Clip the gradient's norm at every optimizer step; null: never."""
    loss_average: Literal["token", "sequence", "constant"] = "token"
    """Over tokens; over each completion's tokens, then completions; or by a constant (rollout.max_new_tokens)."""
    kl: KL = AdaptiveKL()
    """Weight of the penalty for leaving the reference."""
    kl_estimator: KLEstimator = "k1"
    """How the KL is estimated from each token, for penalty and report alike."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the penalty is: taken from each token's reward, or a term of the loss."""
    scores: ScoreScaling = ScoreScaling()
    """Scaling and clipping of scores."""
    missing_eos_penalty: float | None = Field(None, gt=0)
    """Subtracted from the score of a completion that was cut before its end, like trl's of that name; null: none."""
    mask_truncated_completions: bool = False
    """Learn nothing from the tokens of completions that were cut before their end (overlong filtering, Yu et al. 2025,
    section 3.4); their scores still count in baselines and means."""

    @property
    def completions_per_prompt(self) -> int:
        """Completions of each prompt in a step: `group_size` where an algorithm has it."""
        return getattr(self, "group_size", 1)

    @property
    def prompt_groups(self) -> GroupBy | None:
        """What groups of prompts are made by, where an algorithm has them."""
        return getattr(self, "group_by", None)

    @model_validator(mode="after")
    def _check_kl(self) -> "Algorithm":
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator k1 in the loss has a gradient of mean zero: use k2, k3 or full, or kl_in reward"
            )
        return self


class WithValues(Algorithm):
    """What the algorithms with a value head have."""

    gamma: float = Field(1.0, ge=0, le=1)
    """Discount per token."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    value_clip_range: float = Field(0.2, gt=0)
    """Bound on the change of a value that is still rewarded."""
    vf_coef: float = Field(0.1, ge=0)
    """Weight of the value loss."""


class PPO(WithValues):
    """Proximal policy optimisation with a value head (Schulman et al. 2017)."""

    type: Literal["ppo"] = "ppo"


class GroupedPPO(WithValues):
    """PPO with rewards, values and advantages per group of prompts, a clipped loss for each and one update."""

    type: Literal["grouped_ppo"] = "grouped_ppo"
    group_by: GroupBy = ByColumn()
    """What makes a group."""
    min_completions: int = Field(4, ge=1)
    """A group with fewer in a step is put together with the others like it when advantages are centred."""
    scale_by: Literal["batch", "group"] = "batch"
    """Whose standard deviation advantages are divided by; group only where each has many completions in every step."""
    combine: Literal["mean", "sum"] = "mean"
    """How the groups' losses become one: their weighted mean, or their weighted sum."""
    group_weights: dict[str, float] = Field({})
    """Weight of a group's loss by its name; 1 where none is given."""

    @model_validator(mode="after")
    def _check_groups(self) -> "GroupedPPO":
        if any(weight < 0 for weight in self.group_weights.values()):
            raise ValueError("group_weights must not be negative")
        if self.loss_average != "token":
            raise ValueError("loss_average must be token: the groups' losses are means over tokens")
        return self


class GRPO(Algorithm):
    """Group relative policy optimisation (Shao et al. 2024): completions of a prompt are each other's baseline."""

    type: Literal["grpo"] = "grpo"
    group_size: int = Field(8, ge=2)
    """Completions per prompt."""
    scale_by_std: bool = True
    """Divide by the group's standard deviation; Dr. GRPO (Liu et al. 2025) does not, with loss_average constant."""
    loss_average: Literal["token", "sequence", "constant"] = "sequence"
    """Over each completion's tokens, then completions; over tokens (DAPO); or by a constant (Dr. GRPO)."""
    kl: KL = FixedKL(coef=0.04)
    """Weight of the penalty for leaving the reference."""
    kl_estimator: KLEstimator = "k3"
    """How the KL is estimated from each token, for penalty and report alike."""
    kl_in: Literal["reward", "loss"] = "loss"
    """Where the penalty is: taken from each token's reward, or a term of the loss."""


class RLOO(Algorithm):
    """The leave-one-out baseline of RLOO (Ahmadian et al. 2024) with a clipped loss per token."""

    type: Literal["rloo"] = "rloo"
    group_size: int = Field(4, ge=2)
    """Completions per prompt."""
    loss_average: Literal["token", "sequence", "constant"] = "sequence"
    """Over each completion's tokens, then completions; over tokens; or by a constant."""


class ReinforcePP(Algorithm):
    """REINFORCE++ (Hu et al. 2025): no value head, no groups, advantages whitened over the batch."""

    type: Literal["reinforce_pp"] = "reinforce_pp"
    gamma: float = Field(1.0, ge=0, le=1)
    """Discount per token."""


AnyAlgorithm = Annotated[PPO | GroupedPPO | GRPO | RLOO | ReinforcePP, Field(discriminator="type")]
