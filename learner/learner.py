"""The learner: one step's experiences in, the next state out. It keeps nothing between two calls but frozen weights."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from configs.schema import Config
from learner import ppo
from learner.policy import Forward, Policy
from learner.rewards import next_kl_coef
from learner.seeds import seed_from
from learner.types import Experience, LearnerState, PolicyState, RefLogprobs, Rollouts, Scores, Tensors

Metrics = dict[str, float]


class Learner:
    """Runs the algorithm's updates."""

    def __init__(self, config: Config) -> None:
        torch.set_num_threads(config.cluster.threads)
        self.config = config
        self.policy = Policy(config.policy, config.seed)

    def describe(self) -> dict[str, int | str]:
        """Parameter counts and the type of the frozen weights."""
        return {**self.policy.parameter_counts(), "dtype": str(self.policy.network.dtype).removeprefix("torch.")}

    def initial_state(self) -> tuple[PolicyState, LearnerState]:
        """Version 0: the adapter as it was made or given, a new value head, no moments. Also the reference's state."""
        kl_coef = self.config.algorithm.kl.coef
        return self.policy.state(version=0), LearnerState(version=0, moments={}, kl_coef=kl_coef)

    def update(
        self, policy_state: PolicyState, learner_state: LearnerState, *parts: Rollouts | Scores | RefLogprobs
    ) -> tuple[PolicyState, LearnerState, Metrics]:
        """One step: `parts` are rollouts, scores and reference log-probabilities of each unit in turn, in plan order.

        Raises `ValueError` where parts do not belong together or to this version, `FloatingPointError` where the loss
        is not finite.
        """
        version = policy_state.version
        if learner_state.version != version:
            raise ValueError(f"policy state has version {version}, learner state {learner_state.version}")
        experiences = [
            Experience.join(*unit, version) for unit in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        ]
        # This model was changed by the update before, whatever its version says.
        self.policy.load(policy_state, cached=False)
        old = [self._old_forward(e.rollouts) for e in experiences]
        batch = ppo.prepare(experiences, old, self.config.algorithm, learner_state.kl_coef)
        metrics = ppo.batch_metrics(batch, experiences, learner_state.kl_coef)
        optimizer = _optimizer(self.policy.trainable(), learner_state.moments, self.config.algorithm.learning_rate)
        metrics |= self._optimise(batch, optimizer, version)
        kl_coef = next_kl_coef(
            self.config.algorithm.kl, learner_state.kl_coef, metrics["objective/kl"], len(batch.mask)
        )
        moments = _moments(optimizer, self.policy.trainable())
        return self.policy.state(version + 1), LearnerState(version + 1, moments, kl_coef), metrics

    @torch.no_grad()
    def _old_forward(self, rollouts: Rollouts) -> Forward:
        """The sampling policy's pass over one unit, of the shape that the reference saw: same weights, same bits."""
        unit = rollouts.unit
        return Forward(*(x.cpu() for x in self.policy(unit.prompt_ids, unit.prompt_mask, rollouts.completion_ids)))

    def _optimise(self, batch: ppo.Batch, optimizer: torch.optim.Optimizer, step: int) -> Metrics:
        """All epochs; returns the mean of each metric over the minibatches, as of before each one's update."""
        history = [self._minibatch(batch, index, optimizer) for index in self._minibatches(len(batch.mask), step)]
        metrics = {name: sum(m[name] for m in history) / len(history) for name in history[0]}
        # Nothing has changed yet at the first minibatch: any gap is rounding.
        metrics["ppo/policy/first_ratio_gap"] = history[0]["ppo/policy/ratio_gap"]
        return metrics

    def _minibatches(self, size: int, step: int) -> Iterator[Tensor]:
        """Indices of each minibatch, epoch after epoch, shuffled by seeds that the coordinates give."""
        for epoch in range(self.config.algorithm.ppo_epochs):
            shuffle = torch.Generator().manual_seed(seed_from(self.config.seed, "minibatches", step, epoch))
            yield from torch.randperm(size, generator=shuffle).split(self.config.algorithm.minibatch_size)

    def _minibatch(self, batch: ppo.Batch, index: Tensor, optimizer: torch.optim.Optimizer) -> Metrics:
        """One optimizer step on the gradient summed over the microbatches."""
        algorithm, tokens = self.config.algorithm, int(batch.mask[index].sum())
        metrics: Metrics = {}
        for micro in index.split(algorithm.microbatch_size or len(index)):
            rows = batch.rows(micro, self.policy.device)
            new = self.policy(rows.prompt_ids, rows.prompt_mask, rows.completion_ids)
            loss, shares = ppo.loss(new, rows, algorithm, tokens)
            if not loss.isfinite():
                raise FloatingPointError(
                    f"the loss is {loss.item()}: lower algorithm.learning_rate or check the reward"
                )
            loss.backward()
            for name, share in shares.items():
                metrics[name] = metrics.get(name, 0.0) + share.item()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, algorithm.max_grad_norm or torch.inf)
        optimizer.step()
        optimizer.zero_grad()
        return metrics | {"ppo/grad_norm": norm.item()}


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
