"""Squared earth mover's distance: years of probability to be moved (Hou et al. 2016)."""

from __future__ import annotations

from torch import Tensor


def squared_emd(log_probs: Tensor, target: Tensor) -> Tensor:
    """Sum over the ages of the squared difference of the cumulative distributions; the CRPS where the age is known."""
    return (log_probs.exp().cumsum(dim=-1) - target.cumsum(dim=-1)).square().sum(dim=-1)
