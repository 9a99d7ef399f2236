"""A forest whose leaves are distributions over the ages (Shen et al. 2017, LDLF; Kontschieder et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from agewise.ages import AGES
from agewise.model.heads.bell import bell
from agewise.model.heads.forest import TINY, Forest


class LabelForest(Forest):
    """Leaves are distributions over the ages; so is their mixture, weighted by the paths to them."""

    def __init__(
        self,
        features: int,
        dropout: float = 0.0,
        trees: int = 5,
        depth: int = 6,
        outputs: int = 128,
        every: int = 50,
        memory: int = 2000,
        iterations: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(features, dropout, trees, depth, outputs, every, memory, iterations, seed)
        self.says: Tensor
        centres = torch.linspace(2.0, 80.0, self.leaves).repeat(trees, 1)
        self.register_buffer("says", bell(centres, torch.full_like(centres, 12.0)).exp())

    def leaf_probs(self) -> Tensor:
        """The leaves' distributions (T, L, 101)."""
        return self.says

    def maximise(self, shares: Tensor) -> None:
        """Each leaf's share, normalised, with a little of all ages: an age given up by EM would never come back."""
        total = shares.sum(dim=-1, keepdim=True)
        fresh = shares / total.clamp_min(TINY)
        kept = (1 - 1e-4) * fresh + 1e-4 / len(AGES)
        self.says.copy_(torch.where(total > 1e-6, kept, self.says))
