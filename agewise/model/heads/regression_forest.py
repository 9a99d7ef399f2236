"""A forest whose leaves are Gaussians, and whose age is the mean over them (Shen et al. 2018, DRF)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agewise.ages import AGES
from agewise.model.heads.bell import bell
from agewise.model.heads.forest import TINY, Forest, eased


class RegressionForest(Forest):
    """Leaves are Gaussians; a tree's age is the mean of its leaves' means, weighted by the paths to them."""

    def plant(self) -> None:
        """Registers the leaves as training begins with them: one like another, every few years."""
        self.means: Tensor
        self.variances: Tensor
        self.register_buffer("means", torch.linspace(2.0, 80.0, self.leaves).repeat(self.trees_count, 1))
        self.register_buffer("variances", torch.full((self.trees_count, self.leaves), 100.0))

    def trees(self, raw: Tensor) -> Tensor:
        """Each tree's age (N, T) in years."""
        return (self.paths(raw) * self.means).sum(dim=-1)

    def leaf_probs(self) -> Tensor:
        """Gaussians (T, L, 101) on the age axis, with a little of all ages: far from every leaf there is a gradient."""
        return eased(bell(self.means, self.variances.sqrt()).exp())

    def densities(self) -> Tensor:
        """Gaussian densities, which EM maximises; not those normalised on the axis."""
        ages = torch.arange(101, device=self.means.device, dtype=torch.float32)
        variance = self.variances[..., None]
        return torch.exp(-0.5 * (ages - self.means[..., None]) ** 2 / variance) / variance.sqrt()

    def maximise(self, shares: Tensor) -> None:
        """Mean and variance of each leaf's share; a leaf that no face reaches stays as it is."""
        ages = torch.arange(101, device=shares.device, dtype=shares.dtype)
        total = shares.sum(dim=-1)
        safe = total.clamp_min(TINY)
        mean = (shares @ ages) / safe
        spread = (shares * (ages - mean[..., None]) ** 2).sum(dim=-1) / safe
        reached = total > 1e-6
        self.means.copy_(torch.where(reached, mean, self.means))
        self.variances.copy_(torch.where(reached, spread.clamp_min(0.25), self.variances))

    @torch.no_grad()
    def start(self, prior: NDArray[np.float64]) -> None:
        """Leaves begin at evenly spaced quantiles of the training ages, in each tree from another one on."""
        levels = (np.arange(self.leaves) + 0.5) / self.leaves
        quantiles = np.interp(levels, np.cumsum(prior), AGES)
        rng = np.random.default_rng(self.seed)
        orders = np.stack([np.roll(quantiles, int(rng.integers(self.leaves))) for _ in range(self.trees_count)])
        self.means.copy_(torch.from_numpy(orders))
        self.variances.fill_(max(1.0, float(prior @ AGES**2 - (prior @ AGES) ** 2) / 4))
