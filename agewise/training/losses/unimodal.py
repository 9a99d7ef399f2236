"""One peak, as concentrated as the face allows (Li et al. 2022, unimodal-concentrated)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, class_of, mean_of

FLOOR = 1e-10


def unimodal(log_probs: Tensor, target: Tensor, slope_weight: Annotated[float, Field(ge=0)] = 1000.0) -> Tensor:
    """log(v) / 2 + (m - y)^2 / (2 v) + slope_weight * sum of the steps that rise away from y.

    m and v are the probabilities' mean and variance; up to y they may not fall, from y on they may not rise.
    """
    ages, probs, age = axis(target), log_probs.exp(), mean_of(target)
    mean = probs @ ages
    variance = (probs * (ages - mean[:, None]) ** 2).sum(dim=-1) + FLOOR
    likelihood = 0.5 * variance.log() + (mean - age).square() / (2 * variance + FLOOR)
    away = torch.where(ages[:-1] >= class_of(target)[:, None], 1.0, -1.0)
    steps = (away * (probs[:, 1:] - probs[:, :-1])).relu().sum(dim=-1)
    return likelihood + slope_weight * steps
