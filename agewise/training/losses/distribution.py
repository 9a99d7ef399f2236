"""Divergence from the target distribution, with the distance of the means (Gao et al. 2018, DLDL-v2)."""

from __future__ import annotations

import torch
from torch import Tensor


def distribution(raw: Tensor, target: Tensor, mean_weight: float = 0.0) -> Tensor:
    """KL(target || softmax(raw)) + mean_weight * |difference of the means in years|, one value a face (N,)."""
    log_probs = raw.float().log_softmax(dim=1)
    divergence = (target * (target.clamp_min(1e-12).log() - log_probs)).sum(dim=1)
    if mean_weight == 0:
        return divergence
    ages = torch.arange(raw.shape[1], device=raw.device, dtype=torch.float32)
    return divergence + mean_weight * ((log_probs.exp() - target) @ ages).abs()
