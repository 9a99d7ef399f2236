"""Cross-entropy with penalties on a wrong mean and on a wide distribution (Pan et al. 2018, mean-variance)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, cross_entropy_of, mean_of


def mean_variance(
    log_probs: Tensor,
    target: Tensor,
    mean_weight: Annotated[float, Field(ge=0)] = 0.2,
    variance_weight: Annotated[float, Field(ge=0)] = 0.05,
) -> Tensor:
    """Cross-entropy + mean_weight * (m - y)^2 / 2 + variance_weight * v, with m and v of the probabilities."""
    ages, probs = axis(target), log_probs.exp()
    mean = probs @ ages
    variance = (probs * (ages - mean[:, None]) ** 2).sum(dim=-1)
    off = 0.5 * (mean - mean_of(target)).square()
    return cross_entropy_of(log_probs, target) + mean_weight * off + variance_weight * variance
