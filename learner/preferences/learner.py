"""The learner of preferences: parts of a batch in, the next state out. Between calls it keeps only frozen weights."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from learner import update
from learner.gradients import accumulate, check_all_reached, gradients_of
from learner.metrics import Metrics
from learner.optimizer import adam, moments_of
from learner.policy import Policy, describe
from learner.preferences.losses import mismatched_kl
from learner.preferences.objective import measure, summarise
from learner.preferences.unit import Measured, PreferenceUnit
from learner.rewards import ScoreMoments
from learner.settings import PreferenceSettings
from learner.types import LearnerState, PolicyState, Tensors
from learner.update import Updated


@dataclass(frozen=True, eq=False)
class PreferenceGradient:
    """Gradient of a unit's part of the loss, and what was measured on the way."""

    tensors: Tensors  # by parameter name
    measured: Measured
    failed: str = ""


class PreferenceLearner:
    """Runs the updates of a loss of preferences."""

    def __init__(self, settings: PreferenceSettings) -> None:
        self.settings, self.loss = settings, settings.dpo.loss
        self.policy = Policy(settings.policy, settings.seed, torch.device(settings.device), settings.temperature)
        self.fingerprint = self.policy.fingerprint()

    def describe(self) -> dict[str, Any]:
        """As `Learner.describe`."""
        return describe(self.policy, self.fingerprint)

    def initial_state(self) -> tuple[PolicyState, LearnerState]:
        """Version 0: a new or given adapter, without Adam's moments. Also the reference's state."""
        return self.policy.state(version=0), LearnerState(0, {}, 0.0, ScoreMoments(), rejected=0)

    @torch.no_grad()
    def logprobs(self, policy: PolicyState, unit: PreferenceUnit) -> Tensor:
        """Log-probabilities of both completions of each example, sums over their tokens, [B, 2]."""
        self.policy.load(policy, cached=False)
        return self._forward(unit).cpu()

    def divergence(self, *logprobs: Tensor) -> Tensor:
        """KTO's estimate of the KL, [], from the log-probabilities of policy and reference for each unit in turn."""
        log_ratios = [policy - frozen for policy, frozen in zip(logprobs[::2], logprobs[1::2], strict=True)]
        return mismatched_kl(torch.cat(log_ratios)[:, 1])

    @torch.no_grad()
    def measure(self, policy: PolicyState, unit: PreferenceUnit, reference: Tensor, divergence: Tensor) -> Measured:
        """What `gradient` measures, without a gradient."""
        self.policy.load(policy, cached=False)
        return self._measure(unit, reference, divergence)[1]

    def gradient(
        self, policy: PolicyState, unit: PreferenceUnit, reference: Tensor, divergence: Tensor
    ) -> PreferenceGradient:
        """Gradient of a unit's part of the batch's loss.

        `reference` [B, 2]: the reference's log-probabilities of the unit's completions; `divergence` [] is KTO's.
        """
        self.policy.load(policy, cached=False)
        loss, measured = self._measure(unit, reference, divergence)
        if not loss.isfinite():
            return PreferenceGradient({}, measured, f"the loss is {loss.item()}: lower dpo.learning_rate")
        return PreferenceGradient(gradients_of(self.policy, loss), measured)

    def apply(self, policy: PolicyState, state: LearnerState, *gradients: PreferenceGradient) -> Updated:
        """One optimizer step on the sum of a batch's gradients, in order, and the metrics of the step.

        A step whose loss or gradient is not finite is rejected: the next version keeps the current weights.
        Raises `ValueError` if the two states differ in version, `FloatingPointError` for the third consecutive
        rejected step, `UsageError` if an adapted layer gets no gradient in the first.
        """
        if state.version != policy.version:
            raise ValueError(f"policy state has version {policy.version}, learner state {state.version}")
        metrics = self.summarise(*(gradient.measured for gradient in gradients))
        if failed := next((gradient.failed for gradient in gradients if gradient.failed), ""):
            return update.reject(policy, state, metrics, failed)
        self.policy.load(policy, cached=False)
        rate = self._learning_rate(policy.version)
        optimizer = adam(self.policy.trainable(), state.moments, rate)
        accumulate(self.policy, [gradient.tensors for gradient in gradients])
        if policy.version == 0:
            check_all_reached(self.policy, self.settings.policy)
        norm = nn.utils.clip_grad_norm_(
            [p for p in self.policy.trainable().values() if p.grad is not None],
            self.settings.dpo.max_grad_norm or torch.inf,
        )
        if not norm.isfinite():
            return update.reject(policy, state, metrics, f"the gradient norm is {norm.item()}: lower dpo.learning_rate")
        optimizer.step()
        self.policy.zero_grad()
        metrics |= {"optimizer/grad_norm": norm.item(), "optimizer/learning_rate": rate, "optimizer/rejected_steps": 0}
        version = policy.version + 1
        moments = moments_of(optimizer, self.policy.trainable())
        return self.policy.state(version), replace(state, version=version, moments=moments, rejected=0), metrics

    def summarise(self, *measured: Measured) -> Metrics:
        """Metrics of a batch, from what was measured of its units in order."""
        return summarise(list(measured), self.loss)

    def _learning_rate(self, step: int) -> float:
        """Decays linearly from the first step to 0 after the last."""
        return self.settings.dpo.learning_rate * (1 - step / self.settings.steps)

    def _measure(self, unit: PreferenceUnit, reference: Tensor, divergence: Tensor) -> tuple[Tensor, Measured]:
        device = self.policy.device
        on_device = replace(unit, completion_mask=unit.completion_mask.to(device), targets=unit.targets.to(device))
        return measure(self.loss, on_device, self._forward(unit), reference.to(device), divergence.to(device))

    def _forward(self, unit: PreferenceUnit) -> Tensor:
        """Log-probabilities [B, 2] by the policy's one definition; both completions share their prompt's encoding."""
        prompts = (x.repeat_interleave(2, dim=0) for x in (unit.prompt_ids, unit.prompt_mask))
        prefix = unit.decoder_prefix.repeat_interleave(2, dim=0)
        new = self.policy(*prompts, unit.completion_ids, prefix)
        mask = unit.completion_mask.to(self.policy.device)
        return new.logprobs.masked_fill(~mask, 0).sum(dim=1).view(-1, 2)
