"""Distance from the target's mean age: absolute, squared, or one turning into the other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from agewise.training.losses.axis import mean_of


def l1(age: Tensor, target: Tensor, unit: Annotated[float, Field(gt=0)] = 1.0) -> Tensor:
    """|difference| in units of `unit` years; 100 is the normalised age."""
    return (age - mean_of(target)).abs() / unit


def l2(age: Tensor, target: Tensor, unit: Annotated[float, Field(gt=0)] = 1.0) -> Tensor:
    """Squared difference (Greco et al. 2021), in units of `unit` years."""
    return ((age - mean_of(target)) / unit).square()


def smooth_l1(
    age: Tensor, target: Tensor, beta: Annotated[float, Field(gt=0)] = 1.0, unit: Annotated[float, Field(gt=0)] = 1.0
) -> Tensor:
    """Squared below `beta` units, absolute above (Girshick 2015)."""
    return functional.smooth_l1_loss(age / unit, mean_of(target) / unit, reduction="none", beta=beta)
