"""Settings of learning a reward model from preferences."""

from typing import Literal

from pydantic import Field

from configs.base import Section


class RewardLora(Section):
    """Low-rank adapters of the reward model's body; its head is trained in full."""

    r: int = Field(16, ge=1)
    """Rank."""
    alpha: int = Field(32, ge=1)
    """Scaling: the product of the two matrices is multiplied by alpha / r."""
    target_modules: Literal["auto"] | tuple[str, ...] = "auto"
    """Names of the layers that get an adapter; auto: query and value projections of attention, or all
    linear layers of a family whose names for these are not known."""


class RewardTrainingConfig(Section):
    """A reward model learnt from preferences."""

    pairs: str | None = None
    """File or folder of pairs: prompt, chosen, rejected, and perhaps tie, margin, annotator and pair. `--pairs` for
    short."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the prompts whose pairs are not learnt from, but measure the model."""
    held_out_pairs: str | None = None
    """File of pairs that measure the model in place of that share; pairs with its prompts are not learnt from."""
    current_pairs: str | None = None
    """File of pairs written by the policy of now, on which accuracy is reported, too; null: none."""
    model: str | None = None
    """Sequence classifier, or other encoder, to start from; its body is kept. null: the first classifier of
    `reward.parts`."""
    text: Literal["completion", "prompt+completion"] = "completion"
    """Text to score, as in a part of the reward. prompt+completion is truncated at the start of the prompt."""
    lora: RewardLora | None = RewardLora()
    """Adapters to train, which are merged into the result; null: all weights."""
    members: int = Field(1, ge=1)
    """Number of models. Several differ in their seeds and, but for the first, in a bootstrap of the pairs, and are used
    as an ensemble."""
    epochs: float = Field(3.0, gt=0)
    """Passes over the pairs."""
    learning_rate: float = Field(5e-4, gt=0)
    """AdamW's initial learning rate, which decays linearly to 0. All weights of a large model want 1e-5 or so."""
    batch_size: int = Field(16, ge=1)
    """Pairs per update, across all workers."""
    center_rewards_coefficient: float = Field(0.01, ge=0)
    """Factor of the mean square of a pair's summed rewards in the loss, which keeps rewards around 0 (Eisenstein et al.
    2023)."""
    evals: int = Field(4, ge=1)
    """Number of evaluations while a model trains, evenly spaced; a checkpoint is written at each."""
    learning_curve: Literal["auto"] | bool = "auto"
    """Train on 25% and 50% of the pairs, too, to see what more pairs would bring; auto: with up to 5,000 pairs."""
    min_accuracy: float = Field(0.6, ge=0, le=1)
    """Accuracy on held-out pairs below which runs refuse the model unless the reward's part sets `force`. A model that
    guesses reaches 0.6 on 100 pairs in 3 of 100 cases."""
    workers: int = Field(1, ge=1)
    """Data-parallel workers of Ray Train; each has the CPUs and GPUs of the learner."""
