"""One class a year: softmax over the 101 ages (Rothe et al. 2015, DEX; Gao et al. 2017, DLDL)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agewise.ages import AGES
from agewise.model.heads.head import Head


class CategoricalHead(Head):
    """Raw outputs are the logits (N, 101) of the ages."""

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        super().__init__(features, len(AGES), dropout)

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the softmax."""
        return raw.float().log_softmax(dim=-1)

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The logits begin as they are for a face of which nothing is known."""
        self.linear.bias.copy_(torch.from_numpy(np.log(prior + 1e-4)).float())
