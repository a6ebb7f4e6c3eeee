"""One step's experiences, collated for the update."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from configs.algorithms import AnyAlgorithm, GroupedPPO
from learner.rewards import ScoreMoments, kl_to_reference, standardise, token_rewards
from learner.tensors import pad_cat, width
from learner.types import Experience


@dataclass(frozen=True, eq=False)
class Batch:
    """All sequences of a step, stacked in plan order and padded to the widest; fixed over all epochs."""

    prompt_ids: Tensor  # [B, S]
    prompt_mask: Tensor  # [B, S]
    decoder_prefix: Tensor  # [B, C]
    completion_ids: Tensor  # [B, T]
    mask: Tensor  # [B, T], the completion mask
    sampling_mask: Tensor  # [B, T, V / 8], or [B, T, 0] where the whole vocabulary was sampled from
    ended: Tensor  # [B], False for a completion that was cut
    groups: Tensor  # [B], number of each sequence's group
    group_weights: Tensor  # [B], weight of that group's loss
    old_logprobs: Tensor  # [B, T]
    old_values: Tensor  # [B, T]
    ref_logprobs: Tensor  # [B, T]
    ref_full: Tensor  # [B, T, V], or [B, T, 0] where the KL estimator does not need it
    kl: Tensor  # [B, T], before the update
    scores: Tensor  # [B], scaled and clipped
    rewards: Tensor  # [B, T], including the KL penalty if algorithm.kl_in is reward
    advantages: Tensor  # [B, T]
    returns: Tensor  # [B, T], regression targets of the value head

    def rows(self, index: Tensor) -> "Batch":
        """The sequences at `index`, as wide as the whole batch."""
        return Batch(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def trimmed(self) -> "Batch":
        """A copy without the columns that are padding in every row, which cost time and change nothing."""
        prompt, completion = width(self.prompt_mask), width(self.mask)
        cut = {f.name: prompt if f.name.startswith("prompt") else completion for f in fields(self)}
        cut["decoder_prefix"] = self.decoder_prefix.shape[1]
        tensors = {name: getattr(self, name) for name in cut}
        return Batch(**{name: x[:, : cut[name]] if x.dim() > 1 else x for name, x in tensors.items()})

    def to(self, device: torch.device) -> "Batch":
        """A copy on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def group_names(experiences: list[Experience]) -> list[str]:
    """Group names in order of first appearance; a group's number is its index here."""
    return list(dict.fromkeys(name for e in experiences for name in e.rollouts.unit.groups))


def collate(experiences: list[Experience], config: AnyAlgorithm) -> Batch:
    """The batch of all units, without dropped sequences; rewards, advantages and returns are still zero.

    Raises `ValueError` if different versions of the reward scored them.
    """
    if len(versions := {e.scores.version for e in experiences}) > 1:
        raise ValueError(f"the units of a step were scored by several versions of the reward: {sorted(versions)}")
    rollouts = [e.rollouts for e in experiences]
    numbers = {name: number for number, name in enumerate(group_names(experiences))}
    groups = [name for r in rollouts for name in r.unit.groups]
    weights = config.group_weights if isinstance(config, GroupedPPO) else {}
    kl = pad_cat([_kl(e, config) for e in experiences])
    batch = Batch(
        prompt_ids=pad_cat([r.unit.prompt_ids for r in rollouts]),
        prompt_mask=pad_cat([r.unit.prompt_mask for r in rollouts]),
        decoder_prefix=torch.cat([r.unit.decoder_prefix for r in rollouts]),
        completion_ids=pad_cat([r.completion_ids for r in rollouts]),
        mask=pad_cat([r.completion_mask for r in rollouts]),
        sampling_mask=pad_cat([r.sampling_mask for r in rollouts]),
        ended=torch.cat([r.ended for r in rollouts]),
        groups=torch.tensor([numbers[name] for name in groups]),
        group_weights=torch.tensor([weights.get(name, 1.0) for name in groups]),
        old_logprobs=pad_cat([e.old.logprobs for e in experiences]),
        old_values=pad_cat([e.old.values for e in experiences]),
        ref_logprobs=pad_cat([e.reference.logprobs for e in experiences]),
        ref_full=pad_cat([e.reference.full for e in experiences]),
        kl=kl,
        scores=torch.cat([_scores(e, config) for e in experiences]),
        rewards=torch.zeros_like(kl),
        advantages=torch.zeros_like(kl),
        returns=torch.zeros_like(kl),
    )
    kept = ~torch.cat([e.scores.dropped for e in experiences])
    return batch.rows(kept)


def _scores(e: Experience, config: AnyAlgorithm) -> Tensor:
    """Scores [B], minus the penalty for completions that were cut."""
    return e.scores.scores - (config.missing_eos_penalty or 0.0) * ~e.rollouts.ended


def _kl(e: Experience, config: AnyAlgorithm) -> Tensor:
    """KL from the sampling policy to the reference, [B, T]."""
    kl = kl_to_reference(config.kl_estimator, e.old.logprobs, e.old.full, e.reference.logprobs, e.reference.full)
    return kl.masked_fill(~e.rollouts.completion_mask, 0)


def with_rewards(batch: Batch, config: AnyAlgorithm, kl_coef: float, moments: ScoreMoments) -> Batch:
    """The batch with scaled scores and token rewards; `moments` include this batch's scores."""
    scores, scaling = batch.scores, config.scores
    if scaling.divide_by_std:
        scores = standardise(scores, moments, scaling.subtract_mean)
    if scaling.clip is not None:
        scores = scores.clamp(-scaling.clip, scaling.clip)
    penalty = kl_coef if config.kl_in == "reward" else 0.0
    return replace(batch, scores=scores, rewards=token_rewards(scores, batch.kl, batch.mask, penalty))
