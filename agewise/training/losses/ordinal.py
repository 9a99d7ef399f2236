"""Binary cross-entropy on the ranks (Niu et al. 2016, OR-CNN; Cao et al. 2020, CORAL)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def ordinal(ranks: Tensor, target: Tensor, prior: Tensor | None = None, importance: bool = False) -> Tensor:
    """Sum over k of the cross-entropy of "older than k"; a soft target answers by its own probability.

    importance: rank k counts by the root of the larger of its two classes' sizes (Cao et al. 2020), from the
    distribution `prior` (101,) of the training faces.
    """
    older = older_than(target)
    losses = -(older * logsigmoid(ranks) + (1 - older) * logsigmoid(-ranks))
    return (losses * importance_of(prior, ranks, importance)).sum(dim=-1)


def older_than(target: Tensor) -> Tensor:
    """P(age > k) (N, 100) for k = 0..99."""
    return (1.0 - target.float().cumsum(dim=-1)[:, :-1]).clamp(0.0, 1.0)


def importance_of(prior: Tensor | None, like: Tensor, importance: bool) -> Tensor:
    """Weights (100,) of the ranks, 1 unless `importance` asks for others."""
    if not importance:
        return torch.ones(1, device=like.device)
    if prior is None:
        raise ValueError("importance weights need the distribution of the training faces")
    older = older_than(prior[None].to(like.device))[0]
    root = torch.maximum(older, 1 - older).sqrt()
    return root / root.max()
