"""Cross-entropy, mean, and the entropy of the ages less likely than the true one (Zhao et al. 2020, AMR)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import axis, class_of, cross_entropy_of, mean_of

FLOOR = 1e-3
"""Added to each share before its logarithm; every exempt age so contributes a constant 0.0069."""


def mean_residue(
    log_probs: Tensor,
    target: Tensor,
    mean_weight: Annotated[float, Field(ge=0)] = 0.2,
    residue_weight: Annotated[float, Field(ge=0)] = 0.05,
) -> Tensor:
    """Cross-entropy + mean_weight * (m - y)^2 / 2 + residue_weight * R.

    R = -sum q log q over q = p + 0.001 where p is below the true age's probability, 0.001 elsewhere, not normalised:
    the ages at least as likely as the true one are exempt, and their number K = #{j: p_j >= p_y} adapts to each face.
    The mask has no gradient. (The K of the released code's argument is never used.)
    """
    probs = log_probs.exp()
    true = probs.gather(1, class_of(target)[:, None])
    share = probs * (probs < true).to(probs.dtype).detach() + FLOOR
    residue = -(share * share.log()).sum(dim=-1)
    off = 0.5 * (probs @ axis(target) - mean_of(target)).square()
    return cross_entropy_of(log_probs, target) + mean_weight * off + residue_weight * residue
