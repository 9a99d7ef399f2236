"""Gaussians on the age axis, for the heads that speak in means and widths."""

from __future__ import annotations

import torch
from torch import Tensor

NARROWEST, WIDEST = 0.5, 30.0
"""Standard deviations in years: the axis has no finer step, and hardly room for more."""
EDGE = 0.05
"""Years from either end of the axis: no mean of a distribution with some width is nearer."""
STEPS = 8
"""Of Newton, which find a tilt to 0.01 years for any mean and width."""


def bell(mean: Tensor, std: Tensor) -> Tensor:
    """Logarithms (..., 101) of Gaussians over the ages 0..100, from means and standard deviations (...) in years.

    The Gaussian is cut off at the ends of the axis and tilted, p ~ exp(t k - k^2 / 2 std^2), until its mean is the one
    given: cut off alone, a newborn's would be 5 years too old at a std of 6. The gradient is that of the tilt (implicit
    function theorem). Means are clipped to the axis, but keep their gradient: what went too far can come back.
    """
    ages = torch.arange(101, device=mean.device, dtype=torch.float32)
    centre = held(mean.float(), EDGE, 100.0 - EDGE)
    energy = -0.5 * (ages / std.float().clamp(NARROWEST, WIDEST).unsqueeze(-1)) ** 2
    goal, fixed = centre.detach(), energy.detach()
    tilt = goal / std.detach().float().clamp(NARROWEST, WIDEST) ** 2
    for _ in range(STEPS):
        at, spread = _moments(tilt, fixed, ages)
        tilt = tilt + ((goal - at) / spread).clamp(-1.0, 1.0)
    at, spread = _moments(tilt, energy, ages)
    tilt = tilt + (centre - at) / spread.detach()
    return (tilt.unsqueeze(-1) * ages + energy).log_softmax(dim=-1)


def held(values: Tensor, low: float, high: float) -> Tensor:
    """Values clipped to low..high, with the gradient of values that are not."""
    return values + (values.clamp(low, high) - values).detach()


def _moments(tilt: Tensor, energy: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (...) of the tilted distribution."""
    probs = (tilt.unsqueeze(-1) * ages + energy).softmax(dim=-1)
    mean = probs @ ages
    variance = (probs * (ages - mean.unsqueeze(-1)) ** 2).sum(dim=-1)
    return mean, variance.clamp_min(1e-3)
