"""From squared error to the smooth epsilon-error as training goes on (Qin et al. 2023, SwinFace)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import mean_of


def smooth_epsilon(
    age: Tensor, target: Tensor, progress: float = 1.0, sigma: Annotated[float, Field(gt=0)] = 3.0
) -> Tensor:
    """(1 - t) (a - y)^2 / 2 + t (1 - exp(-(a - y)^2 / 2 sigma^2)), with t the share of the training that is done."""
    squared = 0.5 * (age - mean_of(target)).square()
    return (1.0 - progress) * squared + progress * (1.0 - torch.exp(-squared / sigma**2))
