"""A forest whose leaves are distributions over the ages (Shen et al. 2017, LDLF; Kontschieder et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from agewise.model.heads.bell import bell
from agewise.model.heads.forest import TINY, Forest, eased


class LabelForest(Forest):
    """Leaves are distributions over the ages; so is their mixture, weighted by the paths to them."""

    def plant(self) -> None:
        """Registers the leaves as training begins with them: one like another, every few years."""
        self.says: Tensor
        centres = torch.linspace(2.0, 80.0, self.leaves).repeat(self.trees_count, 1)
        self.register_buffer("says", eased(bell(centres, torch.full_like(centres, 12.0)).exp()))

    def leaf_probs(self) -> Tensor:
        """The leaves' distributions (T, L, 101)."""
        return self.says

    def maximise(self, shares: Tensor) -> None:
        """Each leaf's share, normalised; a leaf that no face reaches stays as it is."""
        total = shares.sum(dim=-1, keepdim=True)
        fresh = shares / total.clamp_min(TINY)
        self.says.copy_(torch.where(total > 1e-6, eased(fresh), self.says))
