"""Classification of the year, read as an expectation (Rothe et al. 2015, DEX)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import nll_loss

from agewise.training.losses.axis import class_of, cross_entropy_of


def cross_entropy(log_probs: Tensor, target: Tensor, hard: bool = False) -> Tensor:
    """-sum target log p; with `hard` of the one year nearest to the target's mean, as DEX has it."""
    if hard:
        return nll_loss(log_probs, class_of(target), reduction="none")
    return cross_entropy_of(log_probs, target)
