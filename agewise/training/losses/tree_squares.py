"""Squared error of each tree of a regression forest (Shen et al. 2018, the released code)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agewise.training.losses.axis import mean_of


def tree_squares(trees: Tensor, target: Tensor, unit: Annotated[float, Field(gt=0)] = 100.0) -> Tensor:
    """Half the squared error of each tree's age, summed over the trees, in units of `unit` years.

    What the released code minimises in place of the likelihood, which can become negative; gradients add up over trees.
    """
    return 0.5 * ((trees - mean_of(target)[:, None]) / unit).square().sum(dim=-1)
