"""Divergence from the target distribution (Gao et al. 2017, DLDL; Huo et al. 2016, DADL; Gao et al. 2018, DLDL-v2)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, blurred, divergence


def distribution(
    log_probs: Tensor,
    target: Tensor,
    mean_weight: Annotated[float, Field(ge=0)] = 0.0,
    sigma: Annotated[float, Field(ge=0)] = 0.0,
) -> Tensor:
    """KL(target || probs) + mean_weight * |difference of the means in years|.

    mean_weight 0 is DLDL, and DADL where the target is an annotators' mean and std; 1 is DLDL-v2. sigma: years by which
    a target is blurred first, 2 in DLDL for ages that are known exactly.
    """
    wanted = blurred(target, sigma)
    apart = ((log_probs.exp() - wanted) @ axis(target)).abs()
    return divergence(log_probs, wanted) + mean_weight * apart
