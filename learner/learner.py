"""The learner: one step's experiences in, the next state out. Between calls it keeps only the frozen weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from configs.algorithms import FixedKL
from learner import objective, update
from learner.algorithms import ESTIMATORS
from learner.batch import Batch, collate, with_rewards
from learner.gradients import accumulate, check_all_reached, gradients_of
from learner.metrics import Metrics, minibatch_metrics, step_metrics, update_metrics
from learner.minibatches import epoch_minibatches, loss_weights, metric_weights, microbatches
from learner.objective import Microbatch
from learner.optimizer import adam, moments_of
from learner.policy import Policy, describe
from learner.rewards import ScoreMoments, adapted_kl_coef
from learner.settings import LearnerSettings
from learner.types import Experience, LearnerState, OldPass, PolicyState, RefLogprobs, Rollouts, Scores
from learner.update import Gradient, MicrobatchKey, OptimizerState, PolicyInUpdate, PreparedStep, Updated

Part = Rollouts | OldPass | Scores | RefLogprobs

NO_GRADIENT = Gradient({}, {})


class Learner:
    """Runs the algorithm's updates."""

    def __init__(self, settings: LearnerSettings) -> None:
        self.settings, self.algorithm = settings, settings.algorithm
        self.policy = Policy(settings.policy, settings.seed, torch.device(settings.device), settings.temperature)
        self.fingerprint = self.policy.fingerprint()

    def describe(self) -> dict[str, Any]:
        """Parameter counts, data type, fingerprint of the frozen weights, and whether a saved value head was loaded."""
        return describe(self.policy, self.fingerprint)

    def initial_state(self) -> tuple[PolicyState, LearnerState]:
        """Version 0: a new or given adapter and value head, without Adam's moments. Also the reference's state."""
        return self.policy.state(version=0), LearnerState(0, {}, self.algorithm.kl.coef, ScoreMoments(), rejected=0)

    def update(self, policy: PolicyState, state: LearnerState, *parts: Part) -> Updated:
        """One step on the workers' results for each unit, in plan order, as `prepare` takes them.

        A step whose loss is not finite is rejected: the next version keeps the current weights.

        Raises `ValueError` if parts do not belong together or to this version, `FloatingPointError` for the third
        consecutive rejected step.
        """
        keys = update.minibatch_keys(self.algorithm, self.settings.batch_size)
        return update.run_update(self._call, keys, policy, state, parts)

    def _call(self, method: str, *arguments: Any, results: int = 1) -> Any:
        return getattr(self, method)(*arguments)

    def prepare(
        self, policy: PolicyState, state: LearnerState, *parts: Part
    ) -> tuple[PreparedStep, PolicyInUpdate, OptimizerState]:
        """The batch of a step. `parts`: rollouts, old pass, scores and reference log-probabilities of each unit."""
        version = policy.version
        if state.version != version:
            raise ValueError(f"policy state has version {version}, learner state {state.version}")
        versions = range(max(0, version - self.settings.run_ahead), version + 1)
        experiences = [Experience.join(*unit, versions) for unit in zip(*[iter(parts)] * 4, strict=True)]
        batch = collate(experiences, self.algorithm)
        if not len(batch.mask):
            raise ValueError("every completion of the step was dropped because its reward failed")
        moments = state.score_moments.add(batch.scores)
        batch = self._estimate(with_rewards(batch, self.algorithm, state.kl_coef, moments))
        if self.algorithm.kl_in == "reward":
            batch = replace(batch, ref_full=batch.ref_full[:, :, :0])  # no longer needed
        metrics = step_metrics(batch, experiences, self.algorithm, state.kl_coef)
        metrics["rollout/staleness"] = version - min(e.rollouts.version for e in experiences)
        prepared = PreparedStep(version, state.kl_coef, batch, moments, metrics)
        return prepared, PolicyInUpdate(policy), OptimizerState(state.moments)

    def _estimate(self, batch: Batch) -> Batch:
        """The batch with advantages and returns."""
        advantages, returns = ESTIMATORS[self.algorithm.type](batch, self.algorithm)
        return replace(batch, advantages=advantages, returns=returns)

    def gradient(self, prepared: PreparedStep, current: PolicyInUpdate, key: MicrobatchKey) -> Gradient:
        """Gradient of one microbatch's part of the loss."""
        index = self._minibatch(prepared, key)
        if current.ended or not len(index):
            return NO_GRADIENT
        rows = prepared.batch.rows(index)
        micros = microbatches(rows, self.algorithm.microbatch_size)
        if key.microbatch >= len(micros):
            return NO_GRADIENT
        micro = micros[key.microbatch]
        part = rows.rows(micro).trimmed()
        weights, shares = (
            x[micro, : part.mask.shape[1]] for x in (self._loss_weights(rows), self._metric_weights(rows))
        )
        self.policy.load(current.policy, cached=False)
        return self._backward(Microbatch(part, weights, shares), prepared.kl_coef)

    def _backward(self, micro: Microbatch, kl_coef: float) -> Gradient:
        micro = micro.to(self.policy.device)
        batch = micro.batch
        given = batch.prompt_ids, batch.prompt_mask, batch.completion_ids, batch.decoder_prefix, batch.sampling_mask
        new = self.policy(*given)
        loss, metrics = objective.loss(new, micro, self.algorithm, kl_coef)
        if not loss.isfinite():
            return Gradient({}, {}, f"the loss is {loss.item()}: lower algorithm.learning_rate or check the reward")
        return Gradient(gradients_of(self.policy, loss), {name: value.item() for name, value in metrics.items()})

    def apply(
        self,
        prepared: PreparedStep,
        current: PolicyInUpdate,
        optimizer: OptimizerState,
        key: MicrobatchKey,
        *gradients: Gradient,
    ) -> tuple[PolicyInUpdate, OptimizerState]:
        """One optimizer step on the sum of a minibatch's gradients; `key` is the first microbatch's."""
        if current.ended or not any(g.metrics or g.failed for g in gradients):
            return self._mark_strayed(current, optimizer, key), optimizer
        if failed := next((g.failed for g in gradients if g.failed), ""):
            return replace(current, failed=failed), optimizer
        self.policy.load(current.policy, cached=False)
        adam_ = adam(self.policy.trainable(), optimizer.moments, self.algorithm.learning_rate)
        norm = self._accumulate(gradients, check_reach=prepared.version == 0)
        if not norm.isfinite():
            failed = f"the gradient norm is {norm.item()}: lower algorithm.learning_rate"
            return replace(current, failed=failed), optimizer
        rows = prepared.batch.rows(self._minibatch(prepared, key))
        if self._loss_weights(rows).any():  # else the gradient is 0, yet Adam's moments would still move the weights
            adam_.step()
        self.policy.zero_grad()
        metrics = self._minibatch_metrics(rows)
        metrics |= {name: sum(g.metrics[name] for g in gradients if g.metrics) for name in gradients[0].metrics}
        history = (*optimizer.history, metrics | {"optimizer/grad_norm": norm.item()})
        optimizer = OptimizerState(moments_of(adam_, self.policy.trainable()), history, key.epoch + 1)
        return self._mark_strayed(PolicyInUpdate(self.policy.state(prepared.version)), optimizer, key), optimizer

    def _accumulate(self, gradients: tuple[Gradient, ...], check_reach: bool) -> Tensor:
        """Sum the gradients in order and clip the sum; returns its norm before clipping."""
        accumulate(self.policy, [gradient.tensors for gradient in gradients])
        if check_reach:
            check_all_reached(self.policy, self.settings.policy)
        return self._clip([p for p in self.policy.trainable().values() if p.grad is not None])

    def _clip(self, parameters: list[nn.Parameter]) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, self.algorithm.max_grad_norm or torch.inf)

    def _mark_strayed(self, current: PolicyInUpdate, optimizer: OptimizerState, key: MicrobatchKey) -> PolicyInUpdate:
        """After an epoch that ended too far from the sampling policy, skip the remaining ones."""
        last = key.minibatch == (self.settings.batch_size - 1) // self.algorithm.minibatch_size
        strayed = current.strayed or (last and bool(optimizer.history) and self._strayed(optimizer.history[-1]))
        return replace(current, strayed=strayed)

    def _strayed(self, last: Metrics) -> bool:
        """True if an epoch's last minibatch was too far from the sampling policy for another epoch."""
        target = self.algorithm.target_kl
        return target is not None and last["policy/approx_kl_k1"] > 1.5 * target

    def finish(
        self,
        policy: PolicyState,
        state: LearnerState,
        prepared: PreparedStep,
        current: PolicyInUpdate,
        optimizer: OptimizerState,
    ) -> Updated:
        """The next version; after a rejected step it has the current weights."""
        if current.failed:
            return update.reject(policy, state, prepared.metrics, current.failed)
        metrics = update_metrics(optimizer.history, optimizer.epochs, self.algorithm.learning_rate)
        metrics = prepared.metrics | metrics | {"optimizer/rejected_steps": 0}
        kl_coef = self._next_kl_coef(prepared.kl_coef, metrics["objective/kl"], len(prepared.batch.mask))
        version = prepared.version + 1
        next_state = LearnerState(version, optimizer.moments, kl_coef, prepared.score_moments, rejected=0)
        return replace(current.policy, version=version), next_state, metrics

    def _next_kl_coef(self, kl_coef: float, kl: float, size: int) -> float:
        control = self.algorithm.kl
        if isinstance(control, FixedKL):
            return kl_coef
        return adapted_kl_coef(kl_coef, kl, control.target, size, control.horizon)

    def _minibatch(self, prepared: PreparedStep, key: MicrobatchKey) -> Tensor:
        """Rows of the minibatch that `key` names; none if dropped samples left it empty."""
        epoch = self._epoch_minibatches(prepared.batch, prepared.version, key.epoch)
        return epoch[key.minibatch] if key.minibatch < len(epoch) else torch.tensor([], dtype=torch.long)

    def _epoch_minibatches(self, batch: Batch, step: int, epoch: int) -> Sequence[Tensor]:
        return epoch_minibatches(batch, self.algorithm, self.settings.seed, step, epoch)

    def _loss_weights(self, rows: Batch) -> Tensor:
        return loss_weights(rows, self.algorithm, self.settings.max_new_tokens)

    def _metric_weights(self, rows: Batch) -> Tensor:
        return metric_weights(rows)

    def _minibatch_metrics(self, rows: Batch) -> Metrics:
        return minibatch_metrics(rows, self.algorithm)
