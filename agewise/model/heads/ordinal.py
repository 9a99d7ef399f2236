"""A hundred yes-or-no questions, "older than k?", each with its own weights (Niu et al. 2016, OR-CNN)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from agewise.model.heads.bell import held
from agewise.model.heads.head import Head

RANKS = 100
"""Questions k = 0..99: is the age above k years?"""


class OrdinalHead(Head):
    """Raw outputs are the logits (N, 100) of "older than k"; nothing makes them agree with each other."""

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        super().__init__(features, RANKS, dropout)

    def ranks(self, raw: Tensor) -> Tensor:
        """Logits (N, 100) of being older than k years."""
        return raw.float()

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the differences between consecutive answers."""
        return differences(self.ranks(raw))

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The answers begin as they are for a face of which nothing is known."""
        self.linear.bias.copy_(survival(prior))


def survival(prior: NDArray[np.float64]) -> Tensor:
    """Logits (100,) of P(age > k) under a distribution (101,), every age given a little."""
    likely = prior + 1e-4
    older = 1.0 - np.cumsum(likely / likely.sum())[:-1]
    return torch.from_numpy(np.log(older) - np.log1p(-older)).float()


def differences(ranks: Tensor) -> Tensor:
    """Logits (N, 100) of P(age > k) -> log P(age = k) (N, 101).

    The answers are put in falling order first, which keeps their sum, the expected age, and the number above a half
    (Chernozhukov et al. 2010, rearrangement). sigma(a) - sigma(b) is taken as sigma(a) sigma(-b) (1 - exp(b - a)),
    which keeps its digits where both are close to 1.
    """
    falling = held(ranks.sort(dim=-1, descending=True).values, -40.0, 40.0)
    above = pad(falling, (1, 0), value=60.0)
    below = pad(falling, (0, 1), value=-60.0)
    step = (above - below).clamp_min(1e-5)
    logs = logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(-step))
    return logs.log_softmax(dim=-1)
