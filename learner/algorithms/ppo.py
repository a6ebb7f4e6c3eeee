"""Proximal policy optimisation (Schulman et al. 2017) as in trl 0.11.3 for encoder-decoder models."""

from torch import Tensor

from configs.algorithms import PPO
from learner.advantages import gae
from learner.batch import Batch
from learner.tensors import whiten


def estimate(batch: Batch, config: PPO) -> tuple[Tensor, Tensor]:
    """GAE, whitened over the batch; returns use the advantages before whitening."""
    advantages, returns = gae(batch.rewards, batch.old_values, batch.mask, config.gamma, config.gae_lambda)
    return whiten(advantages, batch.mask), returns
