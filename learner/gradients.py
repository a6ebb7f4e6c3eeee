"""Gradients of the trained tensors: of a part of a batch, and summed over its parts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.errors import UsageError
from configs.policy import PolicyConfig
from learner.lora import layer_of, never_reached
from learner.policy import Policy
from learner.types import Tensors


def gradients_of(policy: Policy, loss: Tensor) -> Tensors:
    """The loss's gradients on the CPU, by parameter name; none for parameters that it does not depend on."""
    trainable = policy.trainable()
    gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    return {name: g.cpu() for name, g in zip(trainable, gradients, strict=True) if g is not None}


def accumulate(policy: Policy, parts: Sequence[Tensors]) -> None:
    """Give each parameter the sum of its gradients, in their order: it has the same bits wherever they come from."""
    for name, parameter in policy.trainable().items():
        own = [part[name].to(parameter.device) for part in parts if name in part]
        parameter.grad = sum(own[1:], start=own[0].clone()) if own else None


def check_all_reached(policy: Policy, config: PolicyConfig) -> None:
    """Raise `UsageError` if an adapted layer got no gradient in the first update.

    Needed for models whose pass fails on the meta device; all others are checked before a run starts.
    """
    idle = {layer_of(name) for name, p in policy.peft.named_parameters() if p.requires_grad and p.grad is None}
    if idle:
        raise UsageError(never_reached(config, sorted(idle)))
