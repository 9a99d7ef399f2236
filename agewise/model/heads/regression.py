"""One neuron: the age itself (Greco et al. 2021), raw or normalised (Kuprashevich and Tolstykh 2023)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agewise.ages import AGES
from agewise.model.heads.bell import bell
from agewise.model.heads.head import Head


class RegressionHead(Head):
    """Raw output (N, 1): the age in years, or with `normalised` its place on the axis, -0.5..0.5.

    The neuron is linear and clipped only where ages are read: a clipped ReLU in training, as in the released code, has
    no gradient once it is at 0. The distribution is a Gaussian around it, as wide as the errors in
    training were.
    """

    def __init__(self, features: int, dropout: float = 0.0, normalised: bool = False) -> None:
        super().__init__(features, 1, dropout)
        self.normalised = normalised
        self.variance: Tensor
        self.register_buffer("variance", torch.tensor(100.0))

    def age(self, raw: Tensor) -> Tensor:
        """Age (N,) in years, not clipped."""
        value = raw.float()[..., 0]
        return value * 100.0 + 50.0 if self.normalised else value

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the Gaussian."""
        age = self.age(raw)
        return bell(age, self.variance.sqrt().expand_as(age))

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """The neuron begins at the mean age."""
        mean = float(prior @ AGES)
        self.linear.bias.fill_((mean - 50.0) / 100.0 if self.normalised else mean)

    @torch.no_grad()
    def observe(self, raw: Tensor, target: Tensor, group_only: Tensor | None = None) -> None:
        """Follows the squared error over the last hundred batches or so, with what is uncertain in the targets."""
        known = torch.ones(len(raw), dtype=torch.bool) if group_only is None else ~group_only.cpu()
        if not known.any():
            return
        ages = torch.arange(101, device=raw.device, dtype=torch.float32)
        distance = (ages - self.age(raw)[:, None]).square()
        error = (target.float() * distance).sum(dim=1)[known.to(raw.device)].mean()
        self.variance.lerp_(error.to(self.variance.dtype), 0.02)
