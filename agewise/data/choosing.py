"""Which rows of a manifest a run learns from: the first so many, all but one fold, only some ages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES
from agewise.data.manifest import ManifestError
from agewise.data.splits import fold_of_rows


def in_fold(manifest: Path, folds: int, fold: int, seed: int = 0) -> NDArray[np.bool_]:
    """Which rows (N,) are in a fold, of which no person is in another."""
    return fold_of_rows(manifest, folds, seed) == fold


def of_ages(targets: NDArray[np.float32], ages: tuple[float, float]) -> NDArray[np.bool_]:
    """Which targets (N, 101) have a mean that, rounded, lies within these ages in years, both included."""
    nearest = np.rint(targets @ AGES.astype(np.float32))
    return (nearest >= ages[0]) & (nearest <= ages[1])


def chosen_rows(manifest: Path, *conditions: NDArray[np.bool_], limit: int | None = None) -> NDArray[np.intp]:
    """The first `limit` rows of those that meet every condition. Raises ManifestError where none is left."""
    rows = np.flatnonzero(np.logical_and.reduce(conditions))[:limit]
    if not len(rows):
        raise ManifestError(f"{manifest}: no face is left to learn from, of {len(conditions[0])}")
    return rows
