"""Conditional ranks: "older than k, given older than k - 1?", so that answers always agree (Shi et al. 2023, CORN)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from agewise.model.heads.head import Head
from agewise.model.heads.ordinal import RANKS


class CornHead(Head):
    """Raw outputs are the logits (N, 100) of P(age > k | age > k - 1)."""

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        super().__init__(features, RANKS, dropout)

    def conditionals(self, raw: Tensor) -> Tensor:
        """Logits (N, 100) of being older than k years for who is older than k - 1."""
        return raw.float()

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101): log P(age = k) is the sum of the answers below k, all yes, and of a no at k."""
        logits = self.conditionals(raw)
        passed = pad(logsigmoid(logits).cumsum(dim=-1), (1, 0))
        return passed + pad(logsigmoid(-logits), (0, 1))

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The answers begin as they are for a face of which nothing is known."""
        likely = prior + 1e-4
        older = likely[::-1].cumsum()[::-1][1:]  # above k
        self.linear.bias.copy_(torch.from_numpy(np.log(older) - np.log(likely[:-1])).float())
