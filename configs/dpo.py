"""Settings of learning from preferences without a reward model: DPO and its relatives, a union tagged by `type`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from configs.base import Section


class PreferenceLoss(Section):
    """What all losses tell the code around them."""

    with_reference: ClassVar[bool] = True
    """True if the loss compares the policy with its reference, the policy as it started."""
    with_ties: ClassVar[bool] = False
    """True if a pair of which neither was preferred teaches something."""


class DPO(PreferenceLoss):
    """Direct preference optimisation (Rafailov et al. 2023, equation 7)."""

    with_ties: ClassVar[bool] = True

    type: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held near its reference: an implicit reward is beta times the log-ratio of the two."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of preferences that are taken to be the wrong way round (Mitchell 2023, conservative DPO)."""


class IPO(PreferenceLoss):
    """Identity preference optimisation (Azar et al. 2023, equation 17): a margin is aimed at, not the largest one."""

    with_ties: ClassVar[bool] = True

    type: Literal["ipo"] = "ipo"
    beta: float = Field(0.1, gt=0)
    """The paper's tau: the log-ratios of the two completions shall differ by 1 / (2 beta) nats, those of a tie by 0."""


class CPO(PreferenceLoss):
    """Contrastive preference optimisation (Xu et al. 2024, section 3): DPO with a uniform reference, and a
    likelihood term."""

    with_reference: ClassVar[bool] = False

    type: Literal["cpo"] = "cpo"
    beta: float = Field(0.1, gt=0)
    """Weight of the difference of the two log-probabilities."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of preferences that are taken to be the wrong way round."""
    nll_weight: float = Field(1.0, ge=0)
    """Weight of the chosen completions' negative log-likelihood per token, trl's cpo_alpha."""


class ORPO(PreferenceLoss):
    """Odds ratio preference optimisation (Hong et al. 2024, equation 6): likelihood, and a penalty by odds."""

    with_reference: ClassVar[bool] = False

    type: Literal["orpo"] = "orpo"
    beta: float = Field(0.1, gt=0)
    """Weight of the odds ratio loss, the paper's lambda."""


class SimPO(PreferenceLoss):
    """Simple preference optimisation (Meng et al. 2024, equation 6): log-probabilities per token, with a margin."""

    with_reference: ClassVar[bool] = False

    type: Literal["simpo"] = "simpo"
    beta: float = Field(2.0, gt=0)
    """Weight of the difference of the two log-probabilities per token."""
    gamma: float = Field(1.0, ge=0)
    """Margin by which the chosen completion's weighted log-probability per token shall be larger, trl's simpo_gamma."""


class KTO(PreferenceLoss):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, equation 7): single completions, thumbs up or down."""

    type: Literal["kto"] = "kto"
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held near its reference, as in DPO."""
    desirable_weight: float = Field(1.0, gt=0)
    """Weight of the loss of completions with a thumb up."""
    undesirable_weight: float = Field(1.0, gt=0)
    """Weight of the loss of completions with a thumb down."""


AnyPreferenceLoss = Annotated[DPO | IPO | CPO | ORPO | SimPO | KTO, Field(discriminator="type")]


class DpoConfig(Section):
    """Learning from preferences by `ray_job.py dpo`."""

    pairs: str | None = None
    """File or folder of pairs: prompt, chosen, rejected. Also --pairs."""
    ratings: str | None = None
    """File or folder of single completions with thumbs, for the loss kto: prompt, completion, label. Also --ratings."""
    loss: AnyPreferenceLoss = DPO()
    """What is minimised."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the training pairs."""
    learning_rate: float = Field(1e-4, gt=0)
    """Adam's initial learning rate, which decays linearly to 0."""
    batch_size: int = Field(16, ge=1)
    """Pairs, or ratings, per optimizer step."""
    microbatch_size: int | None = Field(None, ge=1)
    """Pairs per forward and backward pass: limits memory, keeps the gradient; null: a whole batch."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Clip the gradient norm at every step; null: no clipping."""
    held_out: float = Field(0.1, ge=0, le=0.9)
    """Share of the prompts that is kept out of training, with all their pairs, to measure what was learnt."""
    evals: int = Field(4, ge=1)
    """Number of evaluations on the held-out pairs, evenly spaced; the last is after the last step."""
    workers: int = Field(1, ge=1)
    """Learners that share the microbatches of each batch; each has the CPUs and GPUs of a learner. The result is
    bit-identical for any number."""

    @model_validator(mode="after")
    def _check(self) -> "DpoConfig":
        if self.workers > 1 and (self.microbatch_size or self.batch_size) >= self.batch_size:
            raise ValueError(
                f"dpo.workers ({self.workers}): learners share the microbatches of a batch, but there is only one: set "
                f"dpo.microbatch_size below dpo.batch_size ({self.batch_size})"
            )
        return self
