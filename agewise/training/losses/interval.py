"""Likelihood where only a group of ages is known: an interval-censored target (Turnbull 1976)."""

from __future__ import annotations

import torch
from torch import Tensor


def interval(log_probs: Tensor, target: Tensor) -> Tensor:
    """-log of the probability of the ages that the target does not rule out, however it weighs them."""
    return -torch.where(target > 0, log_probs, -torch.inf).logsumexp(dim=-1)
