"""Adam with its state as a plain value."""

import torch
from torch import nn

from learner.types import Tensors


def adam(parameters: dict[str, nn.Parameter], moments: Tensors, learning_rate: float) -> torch.optim.Adam:
    """Adam with the moments of the previous step, if any."""
    optimizer = torch.optim.Adam(parameters.values(), lr=learning_rate)
    for path, moment in moments.items():
        name, key = path.rsplit("/", 1)
        optimizer.state[parameters[name]][key] = moment.to(
            moment.device if key == "step" else parameters[name].device, copy=True
        )
    return optimizer


def moments_of(optimizer: torch.optim.Adam, parameters: dict[str, nn.Parameter]) -> Tensors:
    """Adam's state on the CPU by "<parameter>/<moment>"; the inverse of `adam`."""
    return {
        f"{name}/{key}": value.detach().cpu()
        for name, p in parameters.items()
        for key, value in optimizer.state[p].items()
    }
