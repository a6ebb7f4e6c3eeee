"""Proximal policy optimisation (Schulman et al. 2017) as trl 0.11.3 had it for encoder-decoder models."""

from torch import Tensor

from configs.algorithms import PPO
from learner.advantages import gae
from learner.batch import Batch
from learner.tensors import whiten


def estimate(batch: Batch, config: PPO) -> tuple[Tensor, Tensor]:
    """GAE, whitened over the batch; returns from the advantages as they were before whitening."""
    advantages, returns = gae(batch.rewards, batch.old_values, batch.mask, config.gamma, config.gae_lambda)
    return whiten(advantages, batch.mask), returns
