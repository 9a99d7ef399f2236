"""Soft ordinal labels: each age weighted by its distance from the true one (Diaz and Marathe 2019, SORD)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, cross_entropy_of, mean_of


def sord(
    log_probs: Tensor,
    target: Tensor,
    power: Annotated[float, Field(gt=0)] = 1.0,
    temperature: Annotated[float, Field(gt=0)] = 1.0,
) -> Tensor:
    """Cross-entropy with softmax(-|age - y|^power / temperature), y the target's mean."""
    distance = (axis(target) - mean_of(target)[:, None]).abs() ** power
    return cross_entropy_of(log_probs, (-distance / temperature).softmax(dim=-1))
