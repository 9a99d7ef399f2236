"""Age groups as classes: Adience's eight, with their gaps, or FairFace's nine (Levi and Hassner 2015)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from agewise.ages import AGES
from agewise.model.heads.head import Head

SCHEMES = {
    "adience": ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100)),
    "fairface": ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 100)),
}
"""The groups' bounds in years, both included."""


class GroupHead(Head):
    """Raw outputs are the logits (N, G) of the groups; each group's probability is spread evenly over its ages.

    An age between two groups counts for the nearer one, the younger of two equally near.
    """

    def __init__(self, features: int, dropout: float = 0.0, scheme: Literal["adience", "fairface"] = "adience") -> None:
        bounds = np.array(SCHEMES[scheme])
        super().__init__(features, len(bounds), dropout)
        below, beyond = bounds[:, :1] - AGES, AGES - bounds[:, 1:]
        nearest = np.maximum(np.maximum(below, beyond), 0).argmin(axis=0)
        self.cells: Tensor
        self.register_buffer("cells", torch.from_numpy(nearest == np.arange(len(bounds))[:, None]).float())

    def groups(self, raw: Tensor) -> Tensor:
        """Logarithms (N, G) of the groups' probabilities."""
        return raw.float().log_softmax(dim=-1)

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101): each group's probability shared by its ages."""
        return (self.groups(raw) - self.cells.sum(dim=1).log()) @ self.cells
