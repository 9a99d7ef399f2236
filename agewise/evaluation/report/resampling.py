"""Many statistics of the same faces over the same resamples: sums by cell, from which means and curves follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agewise.evaluation.groups import CONFIDENCE
from agewise.metrics import FEWEST, Floats


def resampled_sums(
    values: Floats, unit: NDArray[np.intp], cell: NDArray[np.intp], cells: int, resamples: int, seed: int = 0
) -> Floats:
    """Sums (R, cells, M) of values (N, M) by cell (N,), 0 .. cells - 1, over each of R resamples.

    Units (N,), the subjects or else faces, are drawn with replacement and bring all their faces (Efron and Tibshirani
    1993); all statistics of a resample are of the same draw.
    """
    person = np.unique(unit, return_inverse=True)[1]
    count = int(person.max()) + 1
    rng = np.random.default_rng(seed)
    found = np.empty((resamples, cells, values.shape[1]))
    for one in found:
        times = np.bincount(rng.integers(count, size=count), minlength=count)[person]
        for column in range(values.shape[1]):
            one[:, column] = np.bincount(cell, times * values[:, column], minlength=cells)
    return found


def enough(unit: NDArray[np.intp]) -> bool:
    """Whether there are units for an interval, as in `agewise.metrics.bootstrap`."""
    return len(np.unique(unit)) >= FEWEST


def bounds(replicates: Floats) -> tuple[Floats, Floats]:
    """The percentile interval (K,), (K,) of statistics (R, K); a resample that has none (NaN) is left out."""
    low, high = np.nanquantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high
