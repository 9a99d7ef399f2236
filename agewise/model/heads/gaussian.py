"""Mean and variance of a Gaussian, both learned (Nix and Weigend 1994; Seitzer et al. 2022)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from agewise.ages import AGES
from agewise.model.heads.bell import bell
from agewise.model.heads.head import Head


class GaussianHead(Head):
    """Raw outputs (N, 2): the mean in decades from 50, and the logarithm of the variance in square decades."""

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        super().__init__(features, 2, dropout)

    def normal(self, raw: Tensor) -> Tensor:
        """Mean in years, not clipped, and logarithm of the variance in square years (N, 2); std in 0.5..30 years."""
        mean, spread = raw.float().unbind(dim=-1)
        log_variance = _between(spread + math.log(100.0), math.log(0.25), math.log(900.0))
        return torch.stack([mean * 10.0 + 50.0, log_variance], dim=-1)

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the Gaussian."""
        mean, log_variance = self.normal(raw).unbind(dim=-1)
        return bell(mean, (0.5 * log_variance).exp())

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The mean begins at the mean age."""
        self.linear.bias[0] = (float(prior @ AGES) - 50.0) / 10.0


def _between(values: Tensor, low: float, high: float) -> Tensor:
    """Values bent smoothly into low..high: a clipped one would have no gradient to come back by."""
    risen = low + softplus(values - low)
    return high - softplus(high - risen)
