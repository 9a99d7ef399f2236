"""Distributions whose ages are moved along the axis: what a calibration does to them, and they stay distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution

Floats = NDArray[np.float64]

EDGES: Floats = np.arange(len(AGES) + 1, dtype=np.float64) - 0.5
"""Bounds (102,) of the years over which the mass of each age is spread, as `AgeDistribution.quantile` does."""
NARROWEST = 0.05
"""The least factor by which a distribution may be narrowed: none becomes a point."""


def moved(ages: AgeDistribution, origins: Floats) -> AgeDistribution:
    """The distributions on a moved axis: below EDGES[k] lies then what lay below `origins[k]`.

    origins: rising ages (102,), or (N, 102) one row a face. Mass moved beyond the axis is at its end.

    >>> moved(AgeDistribution.of_groups([10], [19]), EDGES - 30).interval(0.8).tolist()
    [[40.5, 48.5]]
    """
    below = np.concatenate([np.zeros((len(ages), 1)), ages.probs.cumsum(axis=1)], axis=1)
    reached = np.zeros_like(below)
    for number, row in enumerate(np.broadcast_to(origins, below.shape)):
        reached[number] = np.interp(row, EDGES, below[number])
    reached[:, 0], reached[:, -1] = 0.0, 1.0
    return AgeDistribution(np.maximum(np.diff(reached, axis=1), 0.0))


@dataclass(frozen=True, slots=True)
class Warp:
    """A rising map of the axis, linear between knots: the age `given[k]` (K,) becomes `meant[k]` (K,), in years."""

    given: tuple[float, ...]
    meant: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raises ValueError unless there are as many of each, two or more, both rising and finite."""
        if len(self.given) != len(self.meant) or len(self.given) < 2:
            raise ValueError(f"the map of ages has {len(self.given)} and {len(self.meant)} knots; 2 or more are needed")
        steps = np.concatenate([np.diff(self.given), np.diff(self.meant)])
        if not (np.isfinite(steps).all() and (steps > 0).all()):
            raise ValueError("the map of ages does not rise")

    def __call__(self, ages: AgeDistribution) -> AgeDistribution:
        """The distributions on the mapped axis."""
        return moved(ages, _along(EDGES, self.meant, self.given))

    def mapped(self, years: Floats) -> Floats:
        """The map of ages (N,); beyond the outer knots, as far beyond the outer values."""
        return _along(years, self.given, self.meant)


@dataclass(frozen=True, slots=True)
class Spread:
    """Factors that dilate a distribution about its median, by predicted age and by level of its interval.

    levels: (L,) rising shares of probability, between 0 and 1. centres: (B,) rising mean predicted ages in years.
    factors: (B, L), 0.05 or more: what the half-widths of the interval of each level are multiplied by; between two
    centres in proportion, beyond the outer ones the same.
    """

    levels: tuple[float, ...]
    centres: tuple[float, ...]
    factors: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Raises ValueError unless the shapes fit and the values are in their ranges."""
        levels, centres = np.asarray(self.levels), np.asarray(self.centres)
        if not len(levels) or not ((levels > 0) & (levels < 1)).all() or (np.diff(levels) <= 0).any():
            raise ValueError(f"the levels are {list(self.levels)}; rising shares between 0 and 1 are needed")
        if not len(centres) or not np.isfinite(centres).all() or (np.diff(centres) <= 0).any():
            raise ValueError(f"the centres of the bands are {list(self.centres)}; rising ages are needed")
        factors = np.array(self.factors, dtype=np.float64)
        if factors.shape != (len(centres), len(levels)) or not np.isfinite(factors).all() or factors.min() < NARROWEST:
            raise ValueError(f"the widths are not {len(centres)} x {len(levels)} factors of {NARROWEST} or more")

    def __call__(self, ages: AgeDistribution) -> AgeDistribution:
        """The distributions dilated; the medians stay, and intervals of `levels` are the dilated ones."""
        factors, centre, offsets = self.at(ages.mean), ages.median, EDGES - ages.median[:, None]
        origins = np.empty_like(offsets)
        low, high = half_widths(ages, self.levels)
        for row, offset in enumerate(offsets):
            upper, lower = _knots(high[row], factors[row]), _knots(low[row], factors[row])
            origins[row] = centre[row] + np.where(offset < 0, -np.interp(-offset, *lower), np.interp(offset, *upper))
        return moved(ages, origins)

    def at(self, predicted: Floats) -> Floats:
        """The factors (N, L) at predicted mean ages (N,)."""
        columns = np.array(self.factors, dtype=np.float64).T
        return np.stack([np.interp(predicted, self.centres, column) for column in columns], axis=1)


def half_widths(ages: AgeDistribution, levels: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Years from the median down, and up, to the bounds of the intervals of some levels: two of (N, L), above 0."""
    bounds = np.stack([ages.interval(level) for level in levels], axis=1)
    centre = ages.median[:, None]
    return np.maximum(centre - bounds[..., 0], 1e-6), np.maximum(bounds[..., 1] - centre, 1e-6)


def _knots(widths: Floats, factors: Floats) -> tuple[Floats, Floats]:
    """Distances from the median and from where they came: at every level by its factor, further out by the last one."""
    far = 4.0 * len(AGES)
    given = np.concatenate([[0.0], widths, [far]])
    meant = np.concatenate([[0.0], np.maximum.accumulate(widths * factors)])
    return np.append(meant, meant[-1] + factors[-1] * (far - widths[-1])), given


def _along(years: Floats, knots: tuple[float, ...], values: tuple[float, ...]) -> Floats:
    """Linear between the knots, and with a slope of 1 beyond them."""
    low, high = np.minimum(years - knots[0], 0.0), np.maximum(years - knots[-1], 0.0)
    return np.interp(years, knots, values) + low + high
