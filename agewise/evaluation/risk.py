"""Risk and coverage: how the error falls as the least certain faces are no longer judged (El-Yaniv and Wiener 2010)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agewise.metrics import Floats


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Floats, Floats, float]:
    """The share of faces kept (K,), 0..1 and rising to 1, their mean error (K,), and the area under that curve (AURC).

    errors: one loss a face (N,), such as its absolute error in years. uncertainty: one number a face (N,), in any
    unit; the faces with the greatest are given up first. Faces of equal uncertainty are kept or given up together, so
    K is the number of its different values. The AURC is the mean over the faces, each as the last one kept, of the
    error of those kept (Geifman et al. 2019), in the unit of the errors; among equals it is the mean over all orders.

    Raises ValueError on another shape, no face, or a value that is not finite.

    >>> coverage, risk, area = risk_coverage([1.0, 3.0, 5.0, 3.0], [0.1, 0.5, 0.9, 0.5])
    >>> coverage.tolist(), risk.round(2).tolist(), round(area, 4)
    ([0.25, 0.75, 1.0], [1.0, 2.33, 3.0], 2.0833)
    """
    loss, rank = _checked(errors, uncertainty)
    level = np.unique(rank, return_inverse=True)[1]
    sizes = np.bincount(level)
    means = np.bincount(level, weights=loss) / sizes
    kept = sizes.cumsum()
    risk = (means * sizes).cumsum() / kept
    # Among equals any order is as good: on average each next one adds the mean error of its level.
    levelled = np.repeat(means, sizes).cumsum() / np.arange(1, len(loss) + 1)
    return kept / len(loss), risk, float(levelled.mean())


def best_area(errors: ArrayLike) -> float:
    """The AURC of an oracle that gives up the faces of the greatest error first: what none can go below.

    >>> best_area([3.0, 1.0])
    1.5
    """
    return risk_coverage(errors, errors)[2]


def risk_at(errors: ArrayLike, uncertainty: ArrayLike, coverage: float) -> float:
    """The mean error of the `coverage` share (above 0, up to 1) of the faces that are the most certain.

    At least one face is kept; equals at the edge count in proportion.

    >>> risk_at([1.0, 3.0, 5.0, 3.0], [0.1, 0.5, 0.9, 0.5], 0.5)
    2.0
    """
    if not 0.0 < coverage <= 1.0:
        raise ValueError(f"the share of faces kept is {coverage}; above 0, up to 1, is allowed")
    loss, rank = _checked(errors, uncertainty)
    level = np.unique(rank, return_inverse=True)[1]
    sizes = np.bincount(level)
    levelled = np.repeat(np.bincount(level, weights=loss) / sizes, sizes)
    return float(levelled[: max(1, round(coverage * len(loss)))].mean())


def _checked(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Floats, NDArray[np.float64]]:
    loss, rank = np.asarray(errors, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
    if loss.ndim != 1 or loss.shape != rank.shape or not len(loss):
        raise ValueError(f"errors are {loss.shape} and uncertainty {rank.shape}; one of each a face (N,) is needed")
    for name, values in (("error", loss), ("uncertainty", rank)):
        if not np.isfinite(values).all():
            face = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"the {name} of face {face} is {values[face]}; a finite number is needed")
    return loss, rank
