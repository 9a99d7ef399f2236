"""Softmax temperature, fitted so that the intervals of a trained model say what they mean (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GRID: NDArray[np.float64] = np.exp(np.linspace(np.log(0.3), np.log(3.0), 93))
"""Temperatures tried: below 1 sharpens, above 1 widens."""


def fit_temperature(raw: Tensor, probs: Callable[[Tensor], Tensor], known: NDArray[np.bool_]) -> float:
    """The temperature at which raw outputs (N, C) make what is known of each face (N, 101) most likely.

    probs: the head's, from raw outputs to probabilities (N, 101).
    known: true at every age that the face may have (its age, or all ages of its group).
    """
    if len(raw) < 100:
        raise ValueError(f"{len(raw)} faces do not fix a temperature; 100 or more are needed")
    inside = torch.from_numpy(known).float()
    scores = [float((probs(raw / t) * inside).sum(dim=1).clamp_min(1e-9).log().mean()) for t in GRID]
    return float(GRID[int(np.argmax(scores))])
