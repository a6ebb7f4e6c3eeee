"""The learner: one step's experiences in, the next state out. It keeps nothing between two calls but frozen weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from configs.algorithms import FixedKL, GroupedPPO
from configs.errors import UsageError
from configs.schema import Config
from learner import objective
from learner import update as progress
from learner.algorithms import ESTIMATORS
from learner.algorithms.grouped_ppo import group_weights
from learner.batch import Batch, collate, group_names, with_rewards
from learner.lora import layer_of, never_reached
from learner.losses import token_weights
from learner.objective import Metrics
from learner.optimizer import adam, moments_of
from learner.policy import Policy
from learner.pretrained import device_of
from learner.rewards import ScoreMoments, adapted_kl_coef
from learner.seeds import seed_from
from learner.types import Experience, LearnerState, Old, PolicyState, RefLogprobs, Rollouts, Scores
from learner.update import Gradient, Place, Prepared, Progress, Updated, Weights

Part = Rollouts | Old | Scores | RefLogprobs

MAX_REJECTED = 3
"""Steps in a row that may fail to have a finite loss."""


class Learner:
    """Runs the algorithm's updates."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.policy = Policy(config.policy, config.seed, device_of(config.cluster.resources.learner))
        self.fingerprint = self.policy.fingerprint()

    def describe(self) -> dict[str, Any]:
        """Parameter counts, the frozen weights' type and what tells them from others, the value head's origin."""
        dtype = str(self.policy.network.dtype).removeprefix("torch.")
        return {
            **self.policy.parameter_counts(),
            "dtype": dtype,
            "fingerprint": self.fingerprint,
            "value_head_kept": self.policy.value_head_kept,
        }

    def initial_state(self) -> tuple[PolicyState, LearnerState]:
        """Version 0: adapter and value head as they were made or given, no moments. Also the reference's state."""
        kl_coef = self.config.algorithm.kl.coef
        return self.policy.state(version=0), LearnerState(0, {}, kl_coef, ScoreMoments(), rejected=0)

    def update(self, policy: PolicyState, state: LearnerState, *parts: Part) -> Updated:
        """One step: `parts` are what was made of each unit in turn, in plan order, as `prepare` takes them.

        A step whose loss is not finite is not taken: the next version has the weights of this one.

        Raises `ValueError` where parts do not belong together or to this version, `FloatingPointError` where the
        third step in a row could not be taken.
        """
        return progress.update(self._call, self.config, policy, state, parts)

    def _call(self, method: str, *arguments: Any, results: int = 1) -> Any:
        return getattr(self, method)(*arguments)

    def prepare(self, policy: PolicyState, state: LearnerState, *parts: Part) -> tuple[Prepared, Weights, Progress]:
        """The batch of a step: `parts` are rollouts, old pass, scores and reference log-probabilities of each unit."""
        version = policy.version
        if state.version != version:
            raise ValueError(f"policy state has version {version}, learner state {state.version}")
        versions = range(max(0, version - self.config.run_ahead), version + 1)
        experiences = [Experience.join(*unit, versions) for unit in zip(*[iter(parts)] * 4, strict=True)]
        batch = collate(experiences, self.config.algorithm)
        if not len(batch.mask):
            raise ValueError("every completion of the step was dropped, since its reward failed")
        moments = state.score_moments.add(batch.scores)
        batch = self._estimate(with_rewards(batch, self.config.algorithm, state.kl_coef, moments))
        if self.config.algorithm.kl_in == "reward":
            batch = replace(batch, ref_full=batch.ref_full[:, :, :0])  # which nothing reads any more
        metrics = self._step_metrics(batch, experiences, state.kl_coef) | {
            "rollout/staleness": version - min(e.rollouts.version for e in experiences)
        }
        prepared = Prepared(version, state.kl_coef, batch, moments, metrics)
        return prepared, Weights(policy), Progress(state.moments)

    def _estimate(self, batch: Batch) -> Batch:
        """The batch with advantages and returns."""
        algorithm = self.config.algorithm
        advantages, returns = ESTIMATORS[algorithm.type](batch, algorithm)
        return replace(batch, advantages=advantages, returns=returns)

    def gradient(self, prepared: Prepared, weights: Weights, place: Place) -> Gradient:
        """Of the loss of the microbatch at a place."""
        index = self._minibatch(prepared, place)
        algorithm = self.config.algorithm
        if weights.ended or not len(index):
            return Gradient({}, {})
        rows = prepared.batch.rows(index)
        # Longest prompts first: rows of like length share a microbatch, and those that take longest are begun first.
        order = rows.prompt_mask.sum(dim=1).argsort(descending=True, stable=True)
        micros = order.split(algorithm.microbatch_size) if algorithm.microbatch_size else [torch.arange(len(index))]
        if place.microbatch >= len(micros):
            return Gradient({}, {})
        micro = micros[place.microbatch]
        part = rows.rows(micro).trimmed()
        of_tokens = [x[micro, : part.mask.shape[1]] for x in (self._weights(rows), self._shares(rows))]
        self.policy.load(weights.policy, cached=False)
        return self._backward(part, *of_tokens, prepared.kl_coef)

    def _backward(self, part: Batch, weights: Tensor, shares: Tensor, kl_coef: float) -> Gradient:
        part, weights, shares = (x.to(self.policy.device) for x in (part, weights, shares))
        new = self.policy(part.prompt_ids, part.prompt_mask, part.completion_ids)
        loss, metrics = objective.loss(new, part, weights, shares, self.config.algorithm, kl_coef)
        if not loss.isfinite():
            return Gradient({}, {}, f"the loss is {loss.item()}: lower algorithm.learning_rate or check the reward")
        trainable = self.policy.trainable()
        gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
        tensors = {name: g.cpu() for name, g in zip(trainable, gradients, strict=True) if g is not None}
        return Gradient(tensors, {name: value.item() for name, value in metrics.items()})

    def apply(
        self, prepared: Prepared, weights: Weights, progress: Progress, place: Place, *gradients: Gradient
    ) -> tuple[Weights, Progress]:
        """One optimizer step on the sum of a minibatch's gradients, of which `place` names the first."""
        if weights.ended or not any(g.metrics or g.failed for g in gradients):
            return self._ended(weights, progress, place), progress
        if failed := next((g.failed for g in gradients if g.failed), ""):
            return replace(weights, failed=failed), progress
        self.policy.load(weights.policy, cached=False)
        optimizer = adam(self.policy.trainable(), progress.moments, self.config.algorithm.learning_rate)
        for name, parameter in self.policy.trainable().items():
            parts = [g.tensors[name].to(parameter.device) for g in gradients if name in g.tensors]
            parameter.grad = sum(parts[1:], start=parts[0].clone()) if parts else None
        if prepared.version == 0:
            self._check_reach()
        norm = self._clip([p for p in self.policy.trainable().values() if p.grad is not None])
        if not norm.isfinite():
            failed = f"the gradient's norm is {norm.item()}: lower algorithm.learning_rate"
            return replace(weights, failed=failed), progress
        rows = prepared.batch.rows(self._minibatch(prepared, place))
        if self._weights(rows).any():  # without any the gradient is 0, and Adam's moments would move the weights still
            optimizer.step()
        self.policy.zero_grad()
        metrics = self._target_metrics(rows)
        for name in gradients[0].metrics:
            metrics[name] = sum(g.metrics[name] for g in gradients if g.metrics)
        history = (*progress.history, metrics | {"ppo/grad_norm": norm.item()})
        progress = Progress(moments_of(optimizer, self.policy.trainable()), history, place.epoch + 1)
        return self._ended(Weights(self.policy.state(prepared.version)), progress, place), progress

    def _check_reach(self) -> None:
        """Raises `UsageError` where a layer that is to be adapted got no gradient in the first update.

        For models that tell this only by real numbers; of all others it is known before anything starts.
        """
        idle = {layer_of(name) for name, p in self.policy.peft.named_parameters() if p.requires_grad and p.grad is None}
        if idle:
            raise UsageError(never_reached(self.config.policy, sorted(idle)))

    def _ended(self, weights: Weights, progress: Progress, place: Place) -> Weights:
        """At the end of an epoch, the policy may be too far from the sampling one to take another."""
        last = place.minibatch == (self.config.rollout.batch_size - 1) // self.config.algorithm.minibatch_size
        strayed = weights.strayed or (last and bool(progress.history) and self._strayed(progress.history[-1]))
        return replace(weights, strayed=strayed)

    def finish(
        self, policy: PolicyState, state: LearnerState, prepared: Prepared, weights: Weights, progress: Progress
    ) -> Updated:
        """The next version; of a step that could not be taken, with the weights of this one."""
        if weights.failed:
            return self._reject(policy, state, prepared.metrics, weights.failed)
        metrics = prepared.metrics | self._update_metrics(progress)
        kl_coef = self._next_kl_coef(prepared.kl_coef, metrics["objective/kl"], len(prepared.batch.mask))
        version = prepared.version + 1
        next_state = LearnerState(version, progress.moments, kl_coef, prepared.score_moments, rejected=0)
        return replace(weights.policy, version=version), next_state, metrics | {"learner/rejected": 0}

    def _update_metrics(self, progress: Progress) -> Metrics:
        """The mean of each metric over the minibatches."""
        history = progress.history
        metrics = {name: sum(m[name] for m in history) / len(history) for name in history[0]}
        # Nothing has changed yet at the first minibatch: any gap is rounding, or with run_ahead the update before.
        metrics["ppo/policy/first_ratio_gap"] = history[0]["ppo/policy/ratio_gap"]
        metrics["ppo/epochs"] = progress.epochs
        metrics["ppo/learning_rate"] = self.config.algorithm.learning_rate
        if "ppo/val/error" in metrics:
            metrics["ppo/val/var_explained"] = 1 - metrics["ppo/val/error"] / max(metrics["ppo/returns/var"], 1e-8)
        return metrics

    def _step_metrics(self, batch: Batch, experiences: list[Experience], kl_coef: float) -> Metrics:
        gaps = [(e.rollouts.logprobs - e.old.logprobs)[e.rollouts.completion_mask].abs() for e in experiences]
        parts = {name: torch.cat([e.scores.parts[name] for e in experiences]) for name in experiences[0].scores.parts}
        return {
            **objective.step_metrics(batch, kl_coef),
            **objective.group_metrics(batch, group_names(experiences), self.config.algorithm),
            **{f"reward/{name}": part.nanmean().item() for name, part in parts.items()},
            "rollout/logprob_gap": torch.cat(gaps).mean().item(),
            **objective.watch_metrics(experiences),
            "rollout/dropped": sum(int(e.scores.dropped.sum()) for e in experiences),
        }

    def _next_kl_coef(self, kl_coef: float, kl: float, size: int) -> float:
        control = self.config.algorithm.kl
        if isinstance(control, FixedKL):
            return kl_coef
        return adapted_kl_coef(kl_coef, kl, control.target, size, control.horizon)

    def _reject(self, policy: PolicyState, state: LearnerState, metrics: Metrics, failed: str) -> Updated:
        rejected = state.rejected + 1
        if rejected == MAX_REJECTED:
            raise FloatingPointError(f"{MAX_REJECTED} steps in a row: {failed}")
        version = policy.version + 1
        metrics = metrics | {"learner/rejected": rejected}
        return replace(policy, version=version), replace(state, version=version, rejected=rejected), metrics

    def _strayed(self, last: Metrics) -> bool:
        """Whether the last minibatch of an epoch was too far from the sampling policy to take another."""
        target = self.config.algorithm.target_kl
        return target is not None and last["ppo/policy/policykl"] > 1.5 * target

    def _minibatch(self, prepared: Prepared, place: Place) -> Tensor:
        """Rows of the minibatch at a place; none where dropped samples have left it empty."""
        epoch = dict(enumerate(self._minibatches(prepared.batch, prepared.version, place.epoch)))
        return epoch.get(place.minibatch, torch.tensor([], dtype=torch.long))

    def _minibatches(self, batch: Batch, step: int, epoch: int) -> Sequence[Tensor]:
        """Rows of each minibatch of an epoch, shuffled by a seed that the coordinates give.

        Completions of one prompt stay together, so that the encoder's pass over it is shared.
        """
        shuffle = torch.Generator().manual_seed(seed_from(self.config.seed, "minibatches", step, epoch))
        if self.config.group_size == 1:
            order = torch.randperm(len(batch.mask), generator=shuffle)
        else:
            rank = torch.randperm(int(batch.groups.max()) + 1, generator=shuffle)
            order = rank[batch.groups].argsort(stable=True)
        return order.split(self.config.algorithm.minibatch_size)

    def _weights(self, batch: Batch) -> Tensor:
        """Weights [B, T] of the tokens of a minibatch; 0 for completions that are not to be learned from."""
        algorithm, mask = self.config.algorithm, batch.mask
        if algorithm.mask_truncated_completions:
            mask = mask & batch.ended.unsqueeze(1)
        if isinstance(algorithm, GroupedPPO):
            return group_weights(mask, batch.groups, batch.group_weights, algorithm.combine)
        return token_weights(mask, algorithm.loss_average, self.config.rollout.max_new_tokens)

    def _shares(self, batch: Batch) -> Tensor:
        """Share [B, T] of each token in the means that are reported of a minibatch, however its loss is weighed."""
        return token_weights(batch.mask, "token", constant=1)

    def _target_metrics(self, batch: Batch) -> Metrics:
        return objective.minibatch_metrics(batch, self.config.algorithm)

    def _clip(self, parameters: list[nn.Parameter]) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, self.config.algorithm.max_grad_norm or torch.inf)
