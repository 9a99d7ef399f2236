"""Consistent rank logits: one direction in feature space, one threshold a rank (Cao et al. 2020, CORAL)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agewise.model.heads.ordinal import RANKS, OrdinalHead, survival


class CoralHead(OrdinalHead):
    """Raw outputs are the logits (N, 100) of "older than k": a shared score without bias, and a bias for each k."""

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        super().__init__(features, dropout)
        self.linear = nn.Linear(features, 1, bias=False)
        nn.init.normal_(self.linear.weight, std=0.01)
        self.thresholds = nn.Parameter(torch.arange(RANKS, 0, -1, dtype=torch.float32) / RANKS)

    def forward(self, features: Tensor) -> Tensor:
        """Raw outputs (..., 100)."""
        return self.linear(self.dropout(features)) + self.thresholds

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The thresholds begin as they are for a face of which nothing is known."""
        self.thresholds.copy_(survival(prior))
