"""The error as a curve: by year of age, and cumulative, the share of faces whose error is at most k years."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES
from agewise.evaluation.report.resampling import bounds, enough, resampled_sums
from agewise.metrics import Floats

BANDWIDTH = 2.0
"""Years: standard deviation of the Gaussian by which the ages around one count for its smooth curve."""

FEWEST_AROUND = 5.0
"""Faces, so weighted, below which the curve has a gap."""

MOST_YEARS = 20
"""The last k of the cumulative score."""


@dataclass(frozen=True, slots=True)
class Smooth:
    """A curve (101,) over the ages 0 .. 100 in years, NaN where too few faces are near; its 95 % band, or NaN."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class ByYear:
    """The error by completed year of the true age, 0 .. 100 (an age above is counted at 100).

    faces, mae: of each single year (101,), mae NaN where there is no face. absolute, signed: smooth mean errors.
    """

    faces: NDArray[np.intp]
    mae: Floats
    absolute: Smooth
    signed: Smooth


@dataclass(frozen=True, slots=True)
class Cumulative:
    """The share (21,), 0..1, of the faces whose error is at most 0 .. 20 years, and its 95 % band, or NaN."""

    share: Floats
    low: Floats
    high: Floats


def by_year(error: Floats, age: Floats, unit: NDArray[np.intp], resamples: int) -> ByYear:
    """The signed errors (N,) in years by true age (N,)."""
    year = np.minimum(np.floor(age), AGES[-1]).astype(np.intp)
    values = np.column_stack([np.ones(len(error)), np.abs(error), error])
    sums = [np.bincount(year, column, minlength=len(AGES)) for column in values.T]
    once = np.stack(sums, axis=1, dtype=np.float64)[None]
    drawn = resampled_sums(values, unit, year, len(AGES), resamples if enough(unit) else 0)
    faces, absolute, _ = once[0].T
    mae = np.divide(absolute, faces, out=np.full(len(AGES), np.nan), where=faces > 0)
    return ByYear(faces.astype(np.intp), mae, _smooth(once, drawn, 1), _smooth(once, drawn, 2))


def cumulative(error: Floats, unit: NDArray[np.intp], resamples: int) -> Cumulative:
    """The cumulative score of absolute errors (N,) in years, the bound k included."""
    first = np.minimum(np.ceil(np.abs(error)), MOST_YEARS + 1).astype(np.intp)  # the smallest k that holds the face
    ones, cells = np.ones((len(error), 1)), MOST_YEARS + 2
    counts = np.bincount(first, minlength=cells).cumsum()[: MOST_YEARS + 1]
    if not enough(unit):
        none = np.full(MOST_YEARS + 1, np.nan)
        return Cumulative(counts / len(error), none, none)
    drawn = resampled_sums(ones, unit, first, cells, resamples)[:, :, 0].cumsum(axis=1)
    low, high = bounds(drawn[:, : MOST_YEARS + 1] / drawn[:, -1:])
    return Cumulative(counts / len(error), low, high)


def _smooth(once: Floats, drawn: Floats, column: int) -> Smooth:
    """The curve of sums (1, 101, M), and its band from those of resamples (R, 101, M), where R > 0."""
    near = np.exp(-0.5 * ((AGES[:, None] - AGES) / BANDWIDTH) ** 2)
    known = near @ once[0, :, 0] >= FEWEST_AROUND
    value, low, high = (np.full(len(AGES), np.nan) for _ in range(3))
    value[known] = _ratio(once, near[known], column)[0]
    if len(drawn) and known.any():
        low[known], high[known] = bounds(_ratio(drawn, near[known], column))
    return Smooth(value, low, high)


def _ratio(sums: Floats, near: Floats, column: int) -> Floats:
    """The weighted mean (R, K) at K ages, NaN where a resample has no face near."""
    faces = sums[:, :, 0] @ near.T
    return np.divide(sums[:, :, column] @ near.T, faces, out=np.full(faces.shape, np.nan), where=faces > 1e-9)
