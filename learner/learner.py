"""The learner: one step's experiences in, the next state out. It keeps nothing between two calls but frozen weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from configs.algorithms import FixedKL, GroupedPPO
from configs.schema import Config
from learner import objective
from learner.algorithms import ESTIMATORS
from learner.algorithms.grouped_ppo import group_weights
from learner.batch import Batch, Old, collate, group_names, with_rewards
from learner.losses import token_weights
from learner.objective import Metrics
from learner.policy import Policy
from learner.pretrained import device_of
from learner.rewards import ScoreMoments, adapted_kl_coef
from learner.seeds import seed_from
from learner.types import Experience, LearnerState, PolicyState, RefLogprobs, Rollouts, Scores, Tensors

MAX_REJECTED = 3
"""Steps in a row that may fail to have a finite loss."""


class Learner:
    """Runs the algorithm's updates."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.policy = Policy(config.policy, config.seed, device_of(config.cluster.resources.learner))
        self.fingerprint = self.policy.fingerprint()

    def describe(self) -> dict[str, Any]:
        """Parameter counts, the type of the frozen weights, and what tells these weights from others."""
        dtype = str(self.policy.network.dtype).removeprefix("torch.")
        return {**self.policy.parameter_counts(), "dtype": dtype, "fingerprint": self.fingerprint}

    def initial_state(self) -> tuple[PolicyState, LearnerState]:
        """Version 0: the adapter as it was made or given, a new value head, no moments. Also the reference's state."""
        kl_coef = self.config.algorithm.kl.coef
        return self.policy.state(version=0), LearnerState(0, {}, kl_coef, ScoreMoments(), rejected=0)

    def update(
        self, policy_state: PolicyState, learner_state: LearnerState, *parts: Rollouts | Scores | RefLogprobs
    ) -> tuple[PolicyState, LearnerState, Metrics]:
        """One step: `parts` are rollouts, scores and reference log-probabilities of each unit in turn, in plan order.

        A step whose loss is not finite is not taken: the next version has the weights of this one.

        Raises `ValueError` where parts do not belong together or to this version, `FloatingPointError` where the
        third step in a row could not be taken.
        """
        version = policy_state.version
        if learner_state.version != version:
            raise ValueError(f"policy state has version {version}, learner state {learner_state.version}")
        units = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        experiences = [Experience.join(*unit, version) for unit in units]
        # This model was changed by the update before, whatever its version says.
        self.policy.load(policy_state, cached=False)
        old = [self._old(e) for e in experiences]
        batch, moments = self._prepare(experiences, old, learner_state)
        metrics = self._step_metrics(batch, experiences, old, learner_state.kl_coef)
        try:
            adam, updated = self._optimise(batch, learner_state, version)
        except FloatingPointError as error:
            return self._reject(policy_state, learner_state, metrics, error)
        metrics |= updated
        kl_coef = self._next_kl_coef(learner_state.kl_coef, metrics["objective/kl"], len(batch.mask))
        next_state = LearnerState(version + 1, adam, kl_coef, moments, rejected=0)
        return self.policy.state(version + 1), next_state, metrics | {"learner/rejected": 0}

    @torch.no_grad()
    def _old(self, experience: Experience) -> Old:
        """The sampling policy's pass over one unit, of the shape that the reference saw: same weights, same bits."""
        rollouts, reference = experience.rollouts, experience.reference
        logprobs, logits, values = self.policy(
            rollouts.unit.prompt_ids, rollouts.unit.prompt_mask, rollouts.completion_ids
        )
        logprobs, values = logprobs.cpu(), values.cpu()
        kl = objective.kl(logprobs, logits.cpu(), reference.logprobs, reference.full, self.config.algorithm)
        return Old(logprobs, values, kl.masked_fill(~rollouts.completion_mask, 0))

    def _prepare(
        self, experiences: list[Experience], old: list[Old], state: LearnerState
    ) -> tuple[Batch, ScoreMoments]:
        """The batch with rewards, advantages and returns, and the moments of all scores up to here."""
        algorithm = self.config.algorithm
        batch = collate(experiences, old, algorithm)
        if not len(batch.mask):
            raise ValueError("every completion of the step was dropped, since its reward failed")
        moments = state.score_moments.add(batch.scores)
        batch = with_rewards(batch, algorithm, state.kl_coef, moments)
        advantages, returns = ESTIMATORS[algorithm.type](batch, algorithm)
        return replace(batch, advantages=advantages, returns=returns), moments

    def _step_metrics(self, batch: Batch, experiences: list[Experience], old: list[Old], kl_coef: float) -> Metrics:
        pairs = zip(experiences, old, strict=True)
        gaps = [(e.rollouts.logprobs - o.logprobs)[e.rollouts.completion_mask].abs() for e, o in pairs]
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

    def _reject(
        self, policy: PolicyState, state: LearnerState, metrics: Metrics, error: FloatingPointError
    ) -> tuple[PolicyState, LearnerState, Metrics]:
        rejected = state.rejected + 1
        if rejected == MAX_REJECTED:
            raise FloatingPointError(f"{MAX_REJECTED} steps in a row: {error}") from error
        version = policy.version + 1
        metrics = metrics | {"learner/rejected": rejected}
        return replace(policy, version=version), replace(state, version=version, rejected=rejected), metrics

    def _optimise(self, batch: Batch, state: LearnerState, step: int) -> tuple[Tensors, Metrics]:
        """All epochs: Adam's new state, and the mean of each metric over the minibatches, as of before each update."""
        self.policy.zero_grad()  # a step that was not taken may have left some
        optimizer = _optimizer(self.policy.trainable(), state.moments, self.config.algorithm.learning_rate)
        history: list[Metrics] = []
        for epoch in range(self.config.algorithm.ppo_epochs):
            for index in self._minibatches(len(batch.mask), step, epoch):
                history.append(self._minibatch(batch, index, optimizer, state.kl_coef))
            if self._strayed(history[-1]):
                break
        metrics = {name: sum(m[name] for m in history) / len(history) for name in history[0]}
        # Nothing has changed yet at the first minibatch: any gap is rounding.
        metrics["ppo/policy/first_ratio_gap"] = history[0]["ppo/policy/ratio_gap"]
        metrics["ppo/epochs"] = epoch + 1
        metrics["ppo/learning_rate"] = self.config.algorithm.learning_rate
        if "ppo/val/error" in metrics:
            metrics["ppo/val/var_explained"] = 1 - metrics["ppo/val/error"] / max(metrics["ppo/returns/var"], 1e-8)
        return _moments(optimizer, self.policy.trainable()), metrics

    def _strayed(self, last: Metrics) -> bool:
        """Whether the last minibatch of an epoch was too far from the sampling policy to take another."""
        target = self.config.algorithm.target_kl
        return target is not None and last["ppo/policy/policykl"] > 1.5 * target

    def _minibatches(self, size: int, step: int, epoch: int) -> Sequence[Tensor]:
        """Indices of each minibatch of an epoch, shuffled by a seed that the coordinates give."""
        shuffle = torch.Generator().manual_seed(seed_from(self.config.seed, "minibatches", step, epoch))
        return torch.randperm(size, generator=shuffle).split(self.config.algorithm.minibatch_size)

    def _weights(self, batch: Batch) -> Tensor:
        """Weights [B, T] of the tokens of a minibatch."""
        algorithm = self.config.algorithm
        if isinstance(algorithm, GroupedPPO):
            return group_weights(batch.mask, batch.groups, batch.group_weights, algorithm.combine)
        return token_weights(batch.mask, algorithm.loss_average, self.config.rollout.max_new_tokens)

    def _shares(self, batch: Batch) -> Tensor:
        """Share [B, T] of each token in the means that are reported of a minibatch, however its loss is weighed."""
        return token_weights(batch.mask, "token", constant=1)

    def _target_metrics(self, batch: Batch) -> Metrics:
        return objective.minibatch_metrics(batch, self.config.algorithm)

    def _minibatch(self, batch: Batch, index: Tensor, optimizer: torch.optim.Adam, kl_coef: float) -> Metrics:
        """One optimizer step on the gradient summed over the microbatches."""
        algorithm = self.config.algorithm
        rows = batch.rows(index).to(self.policy.device)
        weights, shares, metrics = self._weights(rows), self._shares(rows), self._target_metrics(rows)
        for micro in torch.arange(len(index)).split(algorithm.microbatch_size or len(index)):
            part = rows.rows(micro)
            new = self.policy(part.prompt_ids, part.prompt_mask, part.completion_ids)
            loss, parts = objective.loss(new, part, weights[micro], shares[micro], algorithm, kl_coef)
            if not loss.isfinite():
                raise FloatingPointError(
                    f"the loss is {loss.item()}: lower algorithm.learning_rate or check the reward"
                )
            loss.backward()
            for name, value in parts.items():
                metrics[name] = metrics.get(name, 0.0) + value.item()
        return metrics | {"ppo/grad_norm": self._apply(optimizer)}

    def _apply(self, optimizer: torch.optim.Adam) -> float:
        """One step of Adam on the gradients that have gathered; returns their norm before it was clipped."""
        norm = self._clip([p for group in optimizer.param_groups for p in group["params"] if p.grad is not None])
        if not norm.isfinite():
            raise FloatingPointError(f"the gradient's norm is {norm.item()}: lower algorithm.learning_rate")
        optimizer.step()
        optimizer.zero_grad()
        return norm.item()

    def _clip(self, parameters: list[nn.Parameter]) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, self.config.algorithm.max_grad_norm or torch.inf)


def _optimizer(parameters: dict[str, nn.Parameter], moments: Tensors, learning_rate: float) -> torch.optim.Adam:
    """Adam with the moments that the last step left, or none."""
    optimizer = torch.optim.Adam(parameters.values(), lr=learning_rate)
    for path, moment in moments.items():
        name, key = path.rsplit("/", 1)
        optimizer.state[parameters[name]][key] = moment.to(
            moment.device if key == "step" else parameters[name].device, copy=True
        )
    return optimizer


def _moments(optimizer: torch.optim.Adam, parameters: dict[str, nn.Parameter]) -> Tensors:
    """Adam's state on the CPU, "<parameter>/<moment>"; the inverse of `_optimizer`."""
    return {
        f"{name}/{key}": value.detach().cpu()
        for name, p in parameters.items()
        for key, value in optimizer.state[p].items()
    }
