"""What a report draws beyond its scores: curves of the error, agreement, reliability, and risk by coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.evaluation.report.agreement import Agreement, agreement
from agewise.evaluation.report.error_curves import ByYear, Cumulative, by_year, cumulative
from agewise.evaluation.report.reliability import Reliability, reliability
from agewise.evaluation.risk import best_area, risk_at, risk_coverage
from agewise.metrics import Floats

DRAWS = 200
"""Resamples of the curves' bands at the most."""

KEPT = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1)
"""Shares of the faces, the most certain ones, whose error is told."""

FIRST_FACES = 30
"""Faces that are kept at least where the curve of risk begins: the mean of fewer says little."""

MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Risk:
    """The mean error in years of the share of faces (0..1) whose distributions have the smallest standard deviations.

    coverage, risk: the curve (K,). kept: the error by share. area: under the whole curve, years; best: that of an
    oracle that leaves out the largest errors first.
    """

    coverage: Floats
    risk: Floats
    kept: Mapping[float, float]
    area: float
    best: float


@dataclass(frozen=True, slots=True)
class Curves:
    """Those of the faces that are scored; the last three are None where only age groups are known."""

    cumulative: Cumulative
    risk: Risk
    by_year: ByYear | None = None
    agreement: Agreement | None = None
    reliability: Reliability | None = None


def curves_of_ages(
    error: Floats, ages: AgeDistribution, stored: Floats, true: Floats, unit: NDArray[np.intp], resamples: int
) -> Curves:
    """Of N faces of known age; error: signed, years; stored: their 90 % intervals (N, 2); unit: whose faces (N,)."""
    draws = min(resamples, DRAWS)
    return Curves(
        cumulative(error, unit, draws),
        risk_of(np.abs(error), ages.std),
        by_year(error, true, unit, draws),
        agreement(error, unit, resamples),
        reliability(ages, stored, true, unit, resamples),
    )


def curves_of_groups(excess: Floats, ages: AgeDistribution, unit: NDArray[np.intp], resamples: int) -> Curves:
    """Of N faces of known age group; excess: years outside it (N,)."""
    return Curves(cumulative(excess, unit, min(resamples, DRAWS)), risk_of(excess, ages.std))


def risk_of(error: Floats, std: Floats) -> Risk:
    """The risk of absolute errors (N,), the faces with the widest distributions being left out first."""
    coverage, risk, area = risk_coverage(error, std)
    large = np.flatnonzero(coverage * len(error) >= min(FIRST_FACES, len(error)) - 0.5)
    shown = large[np.unique(np.linspace(0, len(large) - 1, MOST_POINTS).round().astype(np.intp))]
    kept = {share: risk_at(error, std, share) for share in KEPT}
    return Risk(coverage[shown], risk[shown], kept, area, best_area(error))
