"""Likelihood of each tree of a forest by itself (Shen et al. 2017, 2018)."""

from __future__ import annotations

from torch import Tensor


def tree_likelihood(tree_log_probs: Tensor, target: Tensor) -> Tensor:
    """-sum target log p of each tree's distribution, averaged over the trees: the papers' own loss."""
    return -(target[:, None] * tree_log_probs).sum(dim=-1).mean(dim=-1)
