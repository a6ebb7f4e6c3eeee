"""The loss of a reward model on pairs."""

from torch import Tensor
from torch.nn.functional import logsigmoid


def pair_loss(chosen: Tensor, rejected: Tensor, target: Tensor, margin: Tensor, center: float) -> Tensor:
    """Mean of -[t log s(d) + (1 - t) log s(-d)] over pairs, with d = chosen - rejected - margin; all are [B].

    Bradley and Terry 1952: the sigmoid s(d) is the probability that the chosen completion is preferred, and the target
    t is 1 where it was, 1/2 for a tie. Margins as in Touvron et al. 2023 (Llama 2), equation 2.

    `center` times the mean of (chosen + rejected)² is added: Eisenstein et al. 2023, equation 2.
    """
    d = chosen - rejected - margin
    preference = -(target * logsigmoid(d) + (1 - target) * logsigmoid(-d)).mean()
    return preference + center * (chosen + rejected).square().mean()
