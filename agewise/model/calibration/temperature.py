"""Softmax temperature, fitted so that what is known of each face becomes most likely (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.model.calibration.calibration import tempered

GRID: NDArray[np.float64] = np.exp(np.linspace(np.log(0.3), np.log(3.0), 93))
"""Temperatures tried: below 1 sharpens, above 1 widens."""
FEWEST = 100
"""Labelled faces below which nothing is fitted."""


def fit_temperature(ages: AgeDistribution, known: NDArray[np.bool_]) -> float:
    """The temperature at which a model's distributions make what is known of each face (N, 101) most likely.

    known: true at every age that the face may have (its age, or all ages of its group); a face of which nothing is
    known does not count. Raises ValueError below FEWEST others.
    """
    told = np.asarray(known.any(axis=1), dtype=np.bool_)
    if told.sum() < FEWEST:
        raise ValueError(f"{told.sum()} faces of known age do not fix a temperature; {FEWEST} or more are needed")
    shown, inside = ages[told], known[told]
    scores = [np.log(np.maximum((tempered(shown, float(t)).probs * inside).sum(axis=1), 1e-9)).mean() for t in GRID]
    return float(GRID[int(np.argmax(scores))])
