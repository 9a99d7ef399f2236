"""One class a year: softmax over the 101 ages (Rothe et al. 2015, DEX; Gao et al. 2017, DLDL)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from agewise.ages import AGES
from agewise.model.heads.head import Head

NEVER = -69.0
"""Logarithm of the probability of an age that a head does not know: 1e-30."""


class CategoricalHead(Head):
    """Raw outputs are the logits (N, oldest + 1) of the ages 0..oldest; older ones have no probability."""

    def __init__(
        self, features: int, dropout: float = 0.0, oldest: Annotated[int, Field(ge=1, le=100)] = len(AGES) - 1
    ) -> None:
        super().__init__(features, oldest + 1, dropout)
        self.oldest = oldest

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the softmax."""
        return pad(raw.float().log_softmax(dim=-1), (0, len(AGES) - 1 - self.oldest), value=NEVER)

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The logits begin as they are for a face of which nothing is known."""
        self.linear.bias.copy_(torch.from_numpy(np.log(prior[: self.oldest + 1] + 1e-4)).float())
