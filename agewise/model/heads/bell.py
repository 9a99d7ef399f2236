"""Gaussians on the age axis, for the heads that speak in means and widths."""

from __future__ import annotations

import torch
from torch import Tensor

NARROWEST = 0.5
"""Least standard deviation in years: the axis has no finer step."""


def held(values: Tensor, low: float, high: float) -> Tensor:
    """Values clipped to low..high, with the gradient of values that are not: what went too far can come back."""
    return values + (values.clamp(low, high) - values).detach()


def bell(mean: Tensor, std: Tensor) -> Tensor:
    """Logarithms (..., 101) of Gaussians over the ages 0..100, from means and standard deviations (...) in years.

    Means are clipped to 0..100, but keep their gradient. A Gaussian that would reach past an end of the
    axis is narrowed to 2.5 standard deviations inside it: cut off there, its mean would no longer be the one given (2
    years too old for a newborn).
    """
    ages = torch.arange(101, device=mean.device, dtype=torch.float32)
    centre = held(mean.float(), 0.0, 100.0)
    room = torch.minimum(centre, 100.0 - centre).detach() + 0.5
    width = torch.minimum(std.float(), room / 2.5).clamp_min(NARROWEST)
    energy = -0.5 * ((ages - centre.unsqueeze(-1)) / width.unsqueeze(-1)) ** 2
    return energy.log_softmax(dim=-1)
