"""How often a face is drawn, or how much it counts, so that rare ages are learned and no group has ages of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 4.0
"""Years over which a density of ages is smoothed."""
BOUNDS = 0.4, 2.5
"""The least and the most that an age of a group may count for: rare ones are not to be learned by heart."""
_BLOCK = 1 << 16
"""Rows whose targets are copied at a time."""


def balanced_weights(targets: NDArray[np.float32], power: float) -> NDArray[np.float64]:
    """Weights (N,), mean 1: the inverse density of each target's ages, to a power (0: as they come, 1: even).

    The density is smoothed over neighbouring ages (Yang et al. 2021, label distribution smoothing).
    """
    factors = np.maximum(_density(targets), 1e-4) ** -power
    blocks = (targets[start : start + _BLOCK] for start in range(0, len(targets), _BLOCK))
    weights = np.concatenate([block @ factors for block in blocks])  # the product makes a copy as float64
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def even_weights(targets: NDArray[np.float32], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weights (N,), mean 1 in each group (N,) too, that give it the ages of all, as far as BOUNDS allow.

    Else a network reads women as young as the women of its photos are (docs/LOG.md).
    """
    everyone = np.maximum(_density(targets), 1e-4)
    weights = np.empty(len(targets))
    for group in np.unique(groups):
        rows = groups == group
        factors = np.clip(everyone / np.maximum(_density(targets[rows]), 1e-4), *BOUNDS)
        own = targets[rows] @ factors
        weights[rows] = own / own.mean()
    return weights


def _density(targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """The density (101,) of the targets' ages, smoothed over neighbouring ones (Yang et al. 2021)."""
    ages = np.arange(targets.shape[1])
    kernel = np.exp(-0.5 * ((ages[:, None] - ages) / WIDTH) ** 2)
    return np.asarray((kernel / kernel.sum(axis=0)) @ targets.mean(axis=0), dtype=np.float64)
