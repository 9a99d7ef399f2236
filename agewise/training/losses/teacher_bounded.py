"""Soft labels and known labels together: the known one counts where the student is worse than its teacher."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, divergence


def teacher_bounded(
    log_probs: Tensor,
    target: Tensor,
    low: Tensor,
    high: Tensor,
    known_weight: Annotated[float, Field(ge=0)] = 0.1,
    margin: Annotated[float, Field(ge=0)] = 0.0,
) -> Tensor:
    """KL(target || probs) + known_weight * years by which the mean is outside low..high, if beyond the teacher's.

    low, high (N,): bounds of the known age in years, NaN where none is known. The penalty holds for faces whose own
    error plus `margin` exceeds that of the target's mean (Chen et al. 2017, teacher-bounded regression).
    """
    years = axis(target)
    own, given = _outside(log_probs.exp() @ years, low, high), _outside(target @ years, low, high)
    return divergence(log_probs, target) + known_weight * own * (own + margin > given)


def _outside(age: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Years (N,) outside of what is known; 0 where nothing is."""
    return torch.maximum(low - age, age - high).clamp_min(0.0).nan_to_num(0.0)
