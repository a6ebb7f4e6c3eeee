"""Settings of the algorithms, a union tagged by `type`. PPO's defaults are those of trl 0.11.3, as in the notebook."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section
from configs.grouping import ByColumn, GroupBy


class FixedKL(Section):
    """KL penalty of constant weight."""

    type: Literal["fixed"] = "fixed"
    coef: float = Field(0.2, ge=0)
    """Weight of the KL penalty."""


class AdaptiveKL(Section):
    """KL penalty whose weight is steered towards a target KL (Ziegler et al. 2019, section 2.2)."""

    type: Literal["adaptive"] = "adaptive"
    coef: float = Field(0.2, ge=0)
    """Weight of the KL penalty in the first step."""
    target: float = Field(6.0, gt=0)
    """Target KL per completion, in nats."""
    horizon: float = Field(10_000, gt=0)
    """Completions over which the weight changes by a factor of at most e^0.2."""


KL = Annotated[FixedKL | AdaptiveKL, Field(discriminator="type")]
KLEstimator = Literal["k1", "k2", "k3", "abs", "full"]


class ScoreScaling(Section):
    """How raw scores are scaled before they become rewards."""

    divide_by_std: bool = False
    """Divide by the running standard deviation of all scores so far, like trl's use_score_scaling, but never by less
    than a tenth of their mean's absolute value (without subtract_mean)."""
    subtract_mean: bool = False
    """Subtract the running mean first; requires divide_by_std."""
    clip: float | None = Field(None, gt=0)
    """Then clip to [-clip, clip]; null: no clipping."""

    @model_validator(mode="after")
    def _check(self) -> "ScoreScaling":
        if self.subtract_mean and not self.divide_by_std:
            raise ValueError("subtract_mean does nothing without divide_by_std: set both or neither")
        return self


class Algorithm(Section):
    """Settings that all algorithms share."""

    learning_rate: float = Field(1.41e-5, gt=0)
    """Adam's learning rate, for the LoRA tensors and the value head."""
    ppo_epochs: int = Field(4, ge=1)
    """Passes over the rollouts of one step."""
    minibatch_size: int = Field(4, ge=1)
    """Completions per optimizer step."""
    microbatch_size: int | None = Field(None, ge=1)
    """Completions per forward and backward pass: limits memory, keeps the gradient; null: a whole minibatch."""
    clip_range: float = Field(0.2, gt=0)
    """Clip range of a token's probability ratio: it is clipped to [1 - clip_range, 1 + clip_range]."""
    clip_range_high: float | None = Field(None, gt=0)
    """Clip range above 1, if different (clip-higher, Yu et al. 2025, section 3.1); null: clip_range."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of the entropy bonus."""
    target_kl: float | None = Field(None, gt=0)
    """Skip the remaining epochs once the KL from the sampling policy exceeds 1.5 times this; null: run all epochs."""
    max_grad_norm: float | None = Field(None, gt=0)
    """Clip the gradient norm at every optimizer step; null: no clipping."""
    loss_average: Literal["token", "sequence", "constant"] = "token"
    """How token losses are averaged. token: over all tokens; sequence: over each completion's tokens, then over
    completions; constant: each completion's sum divided by rollout.max_new_tokens, then over completions."""
    kl: KL = AdaptiveKL()
    """Weight of the penalty for moving away from the reference."""
    kl_estimator: KLEstimator = "k1"
    """Estimator of the KL per token, for both penalty and metrics."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the penalty goes: subtracted from each token's reward, or added to the loss."""
    scores: ScoreScaling = ScoreScaling()
    """Scaling and clipping of the scores."""
    missing_eos_penalty: float | None = Field(None, gt=0)
    """Subtracted from the score of a completion that was cut before its end, as trl's option of that name; null: 0."""
    mask_truncated_completions: bool = False
    """Leave the tokens of completions that were cut before their end out of the loss (overlong filtering, Yu et al.
    2025, section 3.4); their scores still count in baselines and means."""

    @property
    def completions_per_prompt(self) -> int:
        """Completions of each prompt in a step: `group_size` for algorithms that have it, else 1."""
        return getattr(self, "group_size", 1)

    @property
    def prompt_groups(self) -> GroupBy | None:
        """How prompts are grouped; None for algorithms without groups of prompts."""
        return getattr(self, "group_by", None)

    @model_validator(mode="after")
    def _check_kl(self) -> "Algorithm":
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator k1 in the loss has a gradient of mean zero: use k2, k3 or full, or set kl_in to reward"
            )
        return self


class WithValues(Algorithm):
    """Settings of the algorithms with a value head."""

    gamma: float = Field(1.0, ge=0, le=1)
    """Discount per token."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    value_clip_range: float = Field(0.2, gt=0)
    """Clip range of a value around its old one."""
    vf_coef: float = Field(0.1, ge=0)
    """Weight of the value loss."""


class PPO(WithValues):
    """Proximal policy optimisation with a value head (Schulman et al. 2017)."""

    type: Literal["ppo"] = "ppo"


class GroupedPPO(WithValues):
    """PPO with rewards, values and advantages per group of prompts: one clipped loss per group, one joint update."""

    type: Literal["grouped_ppo"] = "grouped_ppo"
    group_by: GroupBy = ByColumn()
    """How prompts are grouped."""
    min_completions: int = Field(4, ge=1)
    """Groups with fewer completions in a step are centred together, as one group."""
    scale_by: Literal["batch", "group"] = "batch"
    """Whose standard deviation divides the advantages; group needs many completions of each group in every step."""
    combine: Literal["mean", "sum"] = "mean"
    """How the group losses are combined: their weighted mean or their weighted sum."""
    group_weights: dict[str, float] = Field({})
    """Weight of each group's loss by group name; 1 for groups not listed."""

    @model_validator(mode="after")
    def _check_groups(self) -> "GroupedPPO":
        if any(weight < 0 for weight in self.group_weights.values()):
            raise ValueError("group_weights must not be negative")
        if self.loss_average != "token":
            raise ValueError("loss_average must be token: group losses are means over tokens")
        return self


class GRPO(Algorithm):
    """Group relative policy optimisation (Shao et al. 2024): a prompt's completions are each other's baseline."""

    type: Literal["grpo"] = "grpo"
    group_size: int = Field(8, ge=2)
    """Completions per prompt."""
    scale_by_std: bool = True
    """Divide by the group's standard deviation; Dr. GRPO (Liu et al. 2025): false, with loss_average constant."""
    loss_average: Literal["token", "sequence", "constant"] = "sequence"
    """How token losses are averaged; token is the choice of DAPO, constant of Dr. GRPO."""
    kl: KL = FixedKL(coef=0.04)
    """Weight of the penalty for moving away from the reference."""
    kl_estimator: KLEstimator = "k3"
    """Estimator of the KL per token, for both penalty and metrics."""
    kl_in: Literal["reward", "loss"] = "loss"
    """Where the penalty goes: subtracted from each token's reward, or added to the loss."""


class RLOO(Algorithm):
    """The leave-one-out baseline of RLOO (Ahmadian et al. 2024) with a clipped loss per token."""

    type: Literal["rloo"] = "rloo"
    group_size: int = Field(4, ge=2)
    """Completions per prompt."""
    loss_average: Literal["token", "sequence", "constant"] = "sequence"
    """How token losses are averaged; by default over each completion's tokens, then over completions."""


class ReinforcePP(Algorithm):
    """REINFORCE++ (Hu et al. 2025): no value head, no groups, advantages whitened over the batch."""

    type: Literal["reinforce_pp"] = "reinforce_pp"
    gamma: float = Field(1.0, ge=0, le=1)
    """Discount per token."""


AnyAlgorithm = Annotated[PPO | GroupedPPO | GRPO | RLOO | ReinforcePP, Field(discriminator="type")]
