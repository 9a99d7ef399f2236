"""What every head is: features -> raw outputs -> a distribution over the ages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Head(nn.Module, ABC):
    """Features (N, D) -> raw outputs (N, C) by dropout and one linear layer; a head says what they mean.

    Each further method with one argument `raw` is a view of the outputs: a loss fits a head that has the view which
    the loss's first parameter names. `log_probs` is the view that all heads have; an `age`, where there is one, is the
    mean of `probs` to within a year (the contract tests see to it).
    """

    def __init__(self, features: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, outputs)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Raw outputs (..., C) of features (..., D)."""
        return self.linear(self.dropout(features))

    @abstractmethod
    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the probabilities of the ages 0..100; finite."""

    def probs(self, raw: Tensor) -> Tensor:
        """Probabilities (N, 101) of the ages 0..100."""
        return self.log_probs(raw).exp()

    def start(self, prior: NDArray[np.float64]) -> None:
        """Called once before training, with the distribution (101,) of the training faces' ages."""

    def observe(self, raw: Tensor, target: Tensor, group_only: Tensor | None = None) -> None:
        """Called after each batch's gradient, for what is learned without one; target (N, 101).

        group_only (N,): the target says no more than which ages are possible.
        """


def single_precision(like: Tensor) -> AbstractContextManager[Any]:
    """No automatic half precision inside: in bfloat16, ages around 70 have steps of half a year."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
