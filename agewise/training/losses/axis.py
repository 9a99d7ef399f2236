"""What the losses share: the age axis, a target's mean and nearest class, its blur, and two divergences."""

from __future__ import annotations

import torch
from torch import Tensor


def axis(like: Tensor) -> Tensor:
    """The ages 0..100 as float32, on the device of a tensor."""
    return torch.arange(101, device=like.device, dtype=torch.float32)


def mean_of(target: Tensor) -> Tensor:
    """Expected age (N,) in years: what a target is to a loss whose definition knows only one age."""
    return target.float() @ axis(target)


def class_of(target: Tensor) -> Tensor:
    """The year (N,) nearest to the mean, as an index."""
    return mean_of(target).round().long().clamp(0, 100)


def blurred(target: Tensor, sigma: float) -> Tensor:
    """The target (N, 101) under a Gaussian of `sigma` years, each age's share normalised on the axis."""
    if sigma == 0:
        return target
    ages = axis(target)
    kernel = (-0.5 * ((ages[:, None] - ages) / sigma) ** 2).softmax(dim=1)
    return target.float() @ kernel


def cross_entropy_of(log_probs: Tensor, target: Tensor) -> Tensor:
    """-sum target log p (N,)."""
    return -(target * log_probs).sum(dim=-1)


def divergence(log_probs: Tensor, target: Tensor) -> Tensor:
    """KL(target || p) (N,)."""
    return (target * (target.clamp_min(1e-12).log() - log_probs)).sum(dim=-1)
