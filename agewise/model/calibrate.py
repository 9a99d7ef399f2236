"""Softmax temperature, fitted so that the intervals of a trained model say what they mean (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GRID: NDArray[np.float64] = np.exp(np.linspace(np.log(0.3), np.log(3.0), 93))
"""Temperatures tried: below 1 sharpens, above 1 widens."""


def tempered(log_probs: Tensor, temperature: float) -> Tensor:
    """Probabilities (N, 101) from logarithms (N, 101): their power 1 / temperature, normalised."""
    return (log_probs / temperature).softmax(dim=-1)


def fit_temperature(log_probs: Tensor, known: NDArray[np.bool_]) -> float:
    """The temperature at which a head's log_probs (N, 101) make what is known of each face (N, 101) most likely.

    known: true at every age that the face may have (its age, or all ages of its group).
    """
    told = known.any(axis=1)
    if told.sum() < 100:
        raise ValueError(f"{told.sum()} faces of known age do not fix a temperature; 100 or more are needed")
    log_probs, inside = log_probs[torch.from_numpy(told)], torch.from_numpy(known[told]).float()
    scores = [float((tempered(log_probs, float(t)) * inside).sum(dim=1).clamp_min(1e-9).log().mean()) for t in GRID]
    return float(GRID[int(np.argmax(scores))])
