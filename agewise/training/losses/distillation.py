"""A teacher's soft labels, both sides flattened by a temperature (Hinton et al. 2015)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, divergence

_FLOOR = 1e-8
"""Least probability of a target before it is flattened: what a file in single precision still tells from 0."""


def distillation(
    log_probs: Tensor,
    target: Tensor,
    temperature: Annotated[float, Field(gt=0, le=20)] = 2.0,
    mean_weight: Annotated[float, Field(ge=0)] = 0.0,
) -> Tensor:
    """temperature^2 * KL(target^(1/T) || probs^(1/T)), both normalised, + mean_weight * |difference of means|, years.

    The square keeps the gradients' size whatever the temperature. At 1 it is `distribution`.
    """
    wanted = (target.clamp_min(_FLOOR).log() / temperature).softmax(dim=-1)
    given = (log_probs / temperature).log_softmax(dim=-1)
    apart = ((log_probs.exp() - target) @ axis(target)).abs()
    return temperature**2 * divergence(given, wanted) + mean_weight * apart
