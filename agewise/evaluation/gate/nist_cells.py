"""The mean absolute error as NIST's FATE AEV (IR 8525) takes it: over cells of sex and age, each of the same weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agewise.evaluation.gate.faces import Faces
from agewise.evaluation.groups import CONFIDENCE, Estimate
from agewise.metrics import FEWEST, replicates

CELLS = [(name, age) for name in ("F", "M") for age in range(18, 31)]
"""NIST's mean absolute error is the mean over these 26 cells, each of the same weight."""

FEWEST_IN_CELL = 5
"""A cell of fewer faces is left out of that mean, and counted."""


@dataclass(frozen=True, slots=True)
class Cells:
    """NIST's mean absolute error, of so many of the 26 cells; `thin` others have a face, but too few."""

    error: Estimate | None
    cells: int
    thin: int


def nist_error(faces: Faces, resamples: int) -> Cells:
    """The unweighted mean, over CELLS, of the mean absolute error in years, with its bootstrap interval.

    Each cell is resampled alone, so a subject at several of the ages counts as one at each.
    """
    errors, drawn, n, thin = [], [], 0, 0
    for number, (name, age) in enumerate(CELLS):
        rows = (faces.sex == name) & (faces.least == faces.most) & faces.aged(age, age + 1)
        if rows.sum() < FEWEST_IN_CELL:
            thin += bool(rows.any())
            continue
        error = np.abs(faces.guess - faces.least)[rows]
        errors.append(float(error.mean()))
        n += len(error)
        if len(np.unique(faces.unit[rows])) >= FEWEST:
            drawn.append(replicates(error, np.mean, faces.unit[rows], resamples, seed=number))
    if not errors:
        return Cells(None, 0, thin)
    interval = None
    if len(drawn) == len(errors):
        low, high = np.quantile(np.mean(drawn, axis=0), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        interval = float(low), float(high)
    return Cells(Estimate(float(np.mean(errors)), interval, n), len(errors), thin)
