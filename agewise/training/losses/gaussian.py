"""Likelihood of a Gaussian with a learned variance, weighted so that hard faces count (Seitzer et al. 2022)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, mean_of


def beta_nll(normal: Tensor, target: Tensor, beta: Annotated[float, Field(ge=0, le=1)] = 0.5) -> Tensor:
    """variance^beta * (log variance + expected squared difference / variance) / 2; no gradient through the weight.

    beta 0 is the likelihood, which neglects faces once it has given them a wide variance; 1 has the mean's gradient of
    squared error. The target's own variance counts: a soft label is a wide one.
    """
    mean, log_variance = normal.unbind(dim=-1)
    centre = mean_of(target)
    spread = (target * (axis(target) - centre[:, None]) ** 2).sum(dim=-1)
    squared = (mean - centre).square() + spread
    weight = (beta * log_variance).exp().detach()
    return weight * 0.5 * (log_variance + squared * (-log_variance).exp())
