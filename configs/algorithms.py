"""The algorithms' settings, as unions tagged by `type`. Defaults are those of trl 0.11.3, the notebook's."""

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Section


class FixedKL(Section):
    """A KL penalty of constant weight."""

    type: Literal["fixed"] = "fixed"
    coef: float = Field(0.2, ge=0)
    """Weight of the per-token KL penalty in the reward."""


class AdaptiveKL(Section):
    """A KL penalty whose weight follows a target (Ziegler et al. 2019, section 2.2)."""

    type: Literal["adaptive"] = "adaptive"
    coef: float = Field(0.2, ge=0)
    """Weight of the per-token KL penalty in the first step."""
    target: float = Field(6.0, gt=0)
    """KL per completion, in nats, that the weight is steered to."""
    horizon: int = Field(10_000, gt=0)
    """Completions over which the weight may change by the factor e."""


KL = Annotated[FixedKL | AdaptiveKL, Field(discriminator="type")]


class PPO(Section):
    """Proximal policy optimisation with a value head (Schulman et al. 2017)."""

    type: Literal["ppo"] = "ppo"
    learning_rate: float = Field(1.41e-5, gt=0)
    """Adam's learning rate, for LoRA tensors and value head."""
    ppo_epochs: int = Field(4, ge=1)
    """Passes over one step's rollouts."""
    minibatch_size: int = Field(4, ge=1)
    """Completions per optimizer step."""
    microbatch_size: int | None = Field(None, ge=1)
    """Completions per forward and backward pass (bounds memory, leaves the gradient alone); null: a whole minibatch."""
    gamma: float = Field(1.0, ge=0, le=1)
    """Discount per token."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    clip_range: float = Field(0.2, gt=0)
    """Bound on the change of a token's probability ratio that is still rewarded."""
    value_clip_range: float = Field(0.2, gt=0)
    """Bound on the change of a value that is still rewarded."""
    vf_coef: float = Field(0.1, ge=0)
    """Weight of the value loss."""
    max_grad_norm: float | None = Field(None, gt=0)
    """Clip the gradient's norm at every optimizer step; null: never."""
    kl: KL = AdaptiveKL()
    """The penalty for leaving the reference."""
