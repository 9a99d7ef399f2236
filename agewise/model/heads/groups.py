"""Age groups as classes: Adience's eight, with their gaps, or FairFace's nine (Levi and Hassner 2015)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from agewise.ages import SCHEMES, nearest_groups
from agewise.model.heads.head import Head


class GroupHead(Head):
    """Raw outputs are the logits (N, G) of the groups; each group's probability is spread evenly over its ages.

    An age between two groups counts for the nearer one, the younger of two equally near.
    """

    def __init__(self, features: int, dropout: float = 0.0, scheme: Literal["adience", "fairface"] = "adience") -> None:
        bounds = SCHEMES[scheme]
        super().__init__(features, len(bounds), dropout)
        self.cells: Tensor
        cells = np.eye(len(bounds), dtype=np.float32)[nearest_groups(bounds)].T.copy()
        self.register_buffer("cells", torch.from_numpy(cells))

    def groups(self, raw: Tensor) -> Tensor:
        """Logarithms (N, G) of the groups' probabilities."""
        return raw.float().log_softmax(dim=-1)

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101): each group's probability shared by its ages."""
        return (self.groups(raw) - self.cells.sum(dim=1).log()) @ self.cells
